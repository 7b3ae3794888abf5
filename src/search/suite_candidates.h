// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "search/suite.h"

namespace quern {

/// A candidate that somebody made for a task of a suite.
struct OfferedSample {
  std::string task;  ///< its name in the suite or in its benchmark; "" where level and problem say
  int level = 0, problem = 0;
  int number = 0;        ///< as its name says, else its place among those of its task
  std::string origin;    ///< file, and line
  std::string language;  ///< "c++", "cuda", "opencl", "python", …
  std::string source;
  std::string entry;          ///< function of a Solution in Python; "" for a file with ModelNew
  bool fills_outputs = true;  ///< that function is given the outputs, and does not return them
  std::string prompt;         ///< that `source` completes, where a benchmark keeps it
  std::string model;          ///< of parallelism, where the benchmark has several: "serial", "omp"
  std::string unsupported;    ///< why it cannot be judged; "" where it can
};

struct OfferedSamples {
  std::vector<OfferedSample> samples;
  std::vector<std::string> ignored;  ///< files that hold no candidate
};

/// Reads candidates in any of the layouts of docs/benchmarking.md: a folder with files
/// `level_L_problem_P_sample_S_kernel.EXT` or `TASK/ANY.EXT`, a .jsonl of samples, Solution JSON,
/// or ParEval's prompts with their outputs.
/// Errors: kInput with file, line and what is missing.
Result<OfferedSamples> read_offered(const std::string& path);

/// Whether it was made for this task.
bool is_for(const OfferedSample& sample, const SuiteTask& task);

}  // namespace quern
