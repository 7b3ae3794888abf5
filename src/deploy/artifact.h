// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "deploy/cuda_launcher.h"
#include "ir/program.h"
#include "record/evaluation.h"
#include "record/json.h"

namespace quern {

/// A verified kernel of a run, with what its users must know.
struct Winner {
  ir::Program program;
  ir::Sizes sizes;  ///< of the timed shape
  std::string task_text;
  std::string source;  ///< the candidate
  std::string binary;  ///< the library that was measured, bytes; "" for a GPU
  std::string oracle;  ///< the oracle as a library (`emit_oracle`), bytes: the tests' reference
  Build build;         ///< compiler and flags of `binary`
  std::string run_id;
  std::string size;  ///< size set
  Environment environment;
  Json summary;                  ///< the run's, as `optimize --json` prints it
  std::optional<CudaCode> cuda;  ///< for a GPU of NVIDIA's
};

struct ArtifactFile {
  std::string path;  ///< relative, with '/'
  std::string bytes;
};

/// The files of a deployable folder: the measured library behind a C header, a C++ header with a
/// CMake package, a Python package with a PyTorch operator, sources to build it anew, and tests of
/// all three against the oracle. Contents: docs/export.md. For a GPU the library is left out: it is
/// source/NAME.c (C99), which is to be built to `library_paths`. Errors: kInput for a kernel that
/// needs libraries besides the C and OpenMP runtimes, or whose plan does not fit its machine code.
Result<std::vector<ArtifactFile>> make_artifact(const Winner& winner);

/// Where the library lies in the folder: for C and C++, and in the Python package.
std::vector<std::string> library_paths(const std::string& name);

}  // namespace quern
