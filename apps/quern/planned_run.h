// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>
#include <string>

#include "context.h"
#include "record/evaluator.h"
#include "task_source.h"

namespace quern::cli {

/// One run of a comparison. What its directory holds of it is not done again.
struct PlannedRun {
  RunOptions options;
  TaskAtSize task;
  std::string directory;
  std::string devices;  ///< that share the work, as `make_evaluator` takes them
};

/// How runs that are made at the same time get along.
struct Sharing {
  std::mutex* machine = nullptr;  ///< held by whoever compiles, runs or times kernels
  bool quiet = false;             ///< no progress line
  std::string note;               ///< said beside the directory when the run begins
};

/// Whether the run that is there was asked for with the same options. Errors: kUsage, naming the
/// first that differs.
Result<void> check_same(const PlannedRun& planned, const RunOptions& there);

/// Makes the run, or what is left of it. False when the user stopped it.
Result<bool> make_run(const Context& context, const PlannedRun& planned,
                      const Sharing& sharing = {});

/// The referee of a run, which has the machine to itself whenever it works.
Result<std::unique_ptr<Evaluator>> make_shared_evaluator(const Context& context,
                                                         const PlannedRun& planned,
                                                         const Sharing& sharing);

}  // namespace quern::cli
