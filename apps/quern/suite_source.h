// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "context.h"
#include "search/suite.h"
#include "search/suite_candidates.h"

namespace quern::cli {

/// How a suite is found.
struct SuiteQuery {
  std::string suite;     ///< a folder, a .jsonl, a .task or .py file, or the name of a shipped set
  std::string imported;  ///< folder for task files of modules
  std::vector<std::string> only;  ///< names of tasks, or LEVEL/ID; empty: all
  bool widen = false;
  /// What is to be judged: modules are then imported only where a candidate needs the task file.
  /// Null: tasks are to be searched.
  const OfferedSamples* offered = nullptr;
};

/// Errors: kUsage where there is no such suite.
Result<void> check_suite(const SuiteQuery& query);

/// The tasks of a suite, in its order. Modules and Definitions are imported; what does not become a
/// task is there with the reason. Errors: none of the tasks asked for; the importer's own.
Result<std::vector<SuiteTask>> load_suite(const Context& context, const SuiteQuery& query);

}  // namespace quern::cli
