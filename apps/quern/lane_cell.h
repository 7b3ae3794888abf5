// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lane_service.h"
#include "search/suite.h"
#include "search/suite_candidates.h"

namespace quern::cli {

/// A thread's own process of the PyTorch lane, started when first needed and again after a failure.
class LaneWorker {
 public:
  LaneWorker(const Context& context, LaneServiceOptions options)
      : context_(context), options_(std::move(options)) {}
  /// As `LaneService::ask`.
  Result<std::optional<Json>> ask(const Json& request, const std::function<bool()>& stop);
  const LaneServiceOptions& options() const { return options_; }

 private:
  const Context& context_;
  LaneServiceOptions options_;
  std::optional<LaneService> service_;
};

/// One module of a suite with what is offered for it in Python.
struct LaneCell {
  const SuiteTask& task;
  std::vector<const OfferedSample*> offered;
  std::string size;    ///< "cpu": its sizes halved until a CPU judges it in seconds; or "full"
  std::string record;  ///< JSON file of what was judged; written after each candidate
  bool kernelbench = false;  ///< judge under KernelBench's protocol too
};

struct LaneOutcome {
  std::vector<SuiteSample> samples;
  std::string size;  ///< as judged at
  int judged = 0;    ///< that were not on record
  bool ended = true;
};

/// Judges what the record lacks. What the machine fails is `not_run`, and the others go on. Errors:
/// an unreadable module or record.
Result<LaneOutcome> run_lane_cell(const LaneCell& cell, LaneWorker& worker,
                                  const std::function<bool()>& stop);

}  // namespace quern::cli
