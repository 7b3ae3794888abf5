// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "evaluate/driver_program.h"
#include "search/suite.h"
#include "search/suite_candidates.h"

namespace quern::cli {

/// One task of a suite that a C++ program judges, with what is offered for it.
struct DriverCell {
  const SuiteTask& task;
  std::vector<const OfferedSample*> offered;
  DriverOptions options;
  std::string record;  ///< JSON file of what was judged; written after each candidate
};

/// Judges what the record lacks, one candidate at a time, holding `machine`; then asks whether the
/// driver can tell right from wrong, and sets the samples of one that cannot aside. False when
/// `stop` cut it short. Errors: no driver, an unreadable record.
Result<bool> run_driver_cell(const DriverCell& cell, std::mutex& machine,
                             std::vector<SuiteSample>& samples, const std::function<bool()>& stop);

}  // namespace quern::cli
