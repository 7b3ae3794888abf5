// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/subprocess.h"
#include "context.h"

namespace quern::cli {

/// What all candidates of a lane have in common (docs/torch_lane.md).
struct LaneServiceOptions {
  std::string device = "cpu";       ///< as PyTorch calls it: "cpu", "cuda:0"
  std::string baselines = "eager";  ///< with commas between
  std::string machine;              ///< file that is locked while calls are timed
  uint64_t seed = 0;
  int threads = 0;  ///< of PyTorch; 0: as it chooses
};

/// A Python process that judges candidates for PyTorch modules, one at a time. It ends with the
/// thread that started it. Not thread-safe.
class LaneService {
 public:
  /// Errors: kEnvironment where there is no Python environment with PyTorch.
  static Result<LaneService> start(const Context& context, const LaneServiceOptions& options);

  /// The answer to a request (python/quern/torch_lane/service.py); nothing where `stop` came first,
  /// after which the process is of no more use. Errors: kInternal, it ended, with what it said
  /// last.
  Result<std::optional<Json>> ask(const Json& request, const std::function<bool()>& stop);

 private:
  LaneService(ChildProcess child, FileDescriptor socket)
      : child_(std::move(child)), socket_(std::move(socket)) {}
  Result<void> send(const std::string& text);
  Error ended();

  ChildProcess child_;
  FileDescriptor socket_;
  std::string heard_;
};

}  // namespace quern::cli
