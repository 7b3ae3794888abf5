// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "context.h"
#include "llm/usage.h"
#include "search/search.h"
#include "task_source.h"

namespace quern::cli {

/// A search that ended, with all that its directory keeps of it.
struct SearchResult {
  RunSummary summary;
  Json json;  ///< as `optimize --json` prints it
  bool asked_models = false;
  llm::Spend spend;  ///< of models, over all sessions
};

/// "64" attempts, or "90s", "5m", "1h" of wall time; both as "64,5m". Errors: kUsage.
Result<void> parse_budget(const std::string& text, RunOptions& options);

/// Runs, or goes on with, the run in the store; shows progress unless it is to be quiet, writes
/// best source, summary and report.
Result<SearchResult> search_to_end(const Context& context, RunStore& store, Evaluator& evaluator,
                                   const TaskAtSize& task, bool quiet = false);

/// Exit code of `optimize` and `resume`.
int exit_code(const RunSummary& summary);

/// For people: claim, baselines, where things are.
std::string describe(const SearchResult& result, const std::string& directory);

}  // namespace quern::cli
