// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "context.h"

namespace quern::cli {

/// How a PyTorch candidate is judged against a module file (docs/torch_lane.md).
struct LaneOptions {
  std::string module;
  std::string candidate;  ///< a .py file; "": lines {"id", "source"} from stdin
  std::string device;     ///< "cpu", "cuda"; "": CUDA where there is a device
  std::string protocol = "strict";
  std::string baselines = "eager";
  uint64_t seed = 0;
  bool time_baselines = true;
  std::string certify;  ///< folder for captures, which the referee judges; "": none is made
};

/// Whether `quern eval TASK CANDIDATE` is meant for the lane: a module file as the task, and a
/// Python candidate or a stream of them.
bool is_lane(const std::string& task, const std::string& candidate, bool stream);

/// Judges one candidate, or a stream, and prints the result; the exit code of its verdict. Errors:
/// kEnvironment without PyTorch; kInput, a module that cannot judge.
Result<int> eval_in_lane(const Context& context, const LaneOptions& options);

}  // namespace quern::cli
