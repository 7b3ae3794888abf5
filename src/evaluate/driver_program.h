// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "record/timing.h"
#include "record/verdict.h"

/// Benchmarks whose task is a C++ program around a function: ParEval's drivers. Such a program
/// makes the inputs, calls the candidate and checks it, all in one process. What passes there has
/// passed the benchmark's own check and no more: its verdict is provisional.
namespace quern {

/// A driver: `cpu.cc` in `folder` defines Context, init, reset, compute, best, validate and
/// destroy, and includes `generated-code.hpp`, the candidate.
struct DriverTask {
  std::string folder;
  std::string includes;                  ///< of what drivers share (`utilities.hpp`)
  std::string problem_size = "(1<<18)";  ///< DRIVER_PROBLEM_SIZE, where the driver asks for it
};

struct DriverOptions {
  std::string scratch;  ///< folder for what is built; it is made, and emptied again
  std::string compiler = "g++";
  bool openmp = true;       ///< the candidate's model is OpenMP, not serial
  int threads = 1;          ///< of an OpenMP candidate
  int pairs = 21;           ///< of calls that are timed: the driver's own baseline, the candidate
  int least_pairs = 5;      ///< that are timed even where they take longer than `pairs_s`
  double pairs_s = 20;      ///< after which no further pair begins; drawing the inputs counts
  double compile_s = 60;    ///< that the compiler may take
  double deadline_s = 120;  ///< that the program may take
  uint64_t memory_bytes = uint64_t{4} << 30;
};

struct DriverJudgement {
  Verdict verdict;
  Duel duel;  ///< against the driver's `best`; where the verdict is `Passed`
};

/// Compiles driver and candidate together and runs the program confined to files that it may read
/// and without a network: validation, pairs of timed calls on inputs drawn anew each time,
/// validation again. Errors: kInput where `folder` holds no driver; kEnvironment.
Result<DriverJudgement> judge_driver(const DriverTask& task, const std::string& source,
                                     const DriverOptions& options);

}  // namespace quern
