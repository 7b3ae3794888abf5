// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace quern {

/// The programs behind a compiler's driver, and the arguments it would give them. Running them
/// ourselves saves the driver's own work, which is a fifth of a small compilation.
struct Toolchain {
  /// One program of the pipeline with its arguments. `candidate.cpp`, `candidate.s`, `candidate.o`
  /// and `candidate.so` in the working directory are its files.
  using Step = std::vector<std::string>;

  std::string driver;              ///< absolute path of g++ or clang++
  std::string version;             ///< "g++ 12.2.0"
  bool gcc = true;                 ///< else clang
  std::vector<std::string> flags;  ///< what a person would type; also the recorded flags
  std::vector<Step> steps;         ///< compile (and assemble), then link
};

/// Asks the driver for its steps. `folder` is a scratch folder to ask in. Errors: kEnvironment when
/// there is no such compiler or it does not know this machine.
Result<Toolchain> probe_toolchain(const std::string& compiler, const std::string& folder);

/// The flags of a candidate on this machine: optimised for its vector unit, with NaN, infinity and
/// the order of additions as written. With clang, `-fopenmp-simd` takes the place of `-fopenmp`:
/// its parallel regions run on one thread.
std::vector<std::string> candidate_flags();

/// The steps of a job: with macros, a folder to search for the prelude, and libraries to link.
std::vector<Toolchain::Step> steps_for(const Toolchain& toolchain,
                                       const std::vector<std::pair<std::string, int64_t>>& macros,
                                       const std::string& include_folder,
                                       const std::vector<std::string>& libraries);

/// The link step with only the libraries that a plain kernel using `undefined` symbols can need, or
/// the step unchanged when more may be needed. Reading the tables of libraries that are not needed
/// is most of a small link.
Toolchain::Step lighter_link(const Toolchain::Step& link,
                             const std::vector<std::string>& undefined);

/// Model and feature flags of the processor, as the kernel names them.
struct Processor {
  std::string model;
  std::string features;  ///< " fpu vme … avx512f … ", with a space at both ends
  bool has(const std::string& feature) const {
    return features.find(" " + feature + " ") != std::string::npos;
  }
};
Processor this_processor();

}  // namespace quern
