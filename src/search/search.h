// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "propose/proposer.h"
#include "record/evaluator.h"
#include "record/json.h"
#include "store/run_store.h"

namespace quern {

/// Numbers of the loop that are not the run's own options.
struct SearchPolicy {
  int batch = 8;             ///< candidates proposed, compiled and timed together
  int finalists = 4;         ///< at most so many meet in duels at the end
  double noise = 0.05;       ///< a finalist's median is within this share of the best
  int fruitless_rounds = 4;  ///< rounds of nothing but known sources before the search ends
};

/// Where a run stands; what a progress line shows.
struct Progress {
  std::string phase;  ///< "baselines", "search", "finals", "done"
  int attempts = 0;   ///< evaluated, baselines not counted
  int replayed = 0;   ///< of these, taken from the record by `resume`
  int budget_attempts = 0;
  double spent_s = 0;
  double budget_s = 0;
  double best_ns = 0;  ///< 0: none yet
  double baseline_ns = 0;
  std::string baseline;
  double floor_ns = 0;
  std::map<std::string, int> by_verdict;
};

/// A baseline that passed.
struct BaselineTime {
  std::string name;
  std::string candidate_id;
  double median_ns = 0;
  double roofline = 0;
};

/// The best attempt of a run with what was proven of it. `duel` is against the fastest baseline.
struct BestKernel {
  int number = 0;
  std::string candidate_id;
  double median_ns = 0;
  double roofline = 0;
  std::string verification_level;
  std::optional<Duel> duel;
};

enum class SearchEnd {
  kBudget,
  kExhausted,  ///< the proposer has nothing left to try
  kInterrupted,
  kModelBudget,  ///< nothing left that the budget of models allows; told by who holds that budget
};

struct RunSummary {
  std::string run_id;
  SearchEnd end = SearchEnd::kBudget;
  int attempts = 0;  ///< baselines not counted
  std::map<std::string, int> by_verdict;
  std::vector<BaselineTime> baselines;  ///< fastest first
  std::optional<BestKernel> best;
  double wall_s = 0;  ///< of all sessions

  /// The duel says that the best kernel is faster than the fastest baseline.
  bool improved() const;
};

/// What the loop works with. The store says what was asked for and what is recorded already.
struct SearchParts {
  Evaluator& evaluator;
  Proposer& proposer;
  RunStore& store;
  std::function<void(const Progress&)> progress;  ///< may be empty
  std::function<bool()> stop;                     ///< true: finish what runs, duel, save
};

/// Runs, or goes on with, the run in the store: baselines, then batches of proposals until the
/// budget is spent, then duels. Recorded evaluations and duels are taken from the record, never
/// repeated; given the same evaluations it makes the same choices, so a resumed run ends as an
/// unbroken one would. Errors: the world's (disk, machine); kInternal where the record does not
/// match what the proposer now proposes. Whatever happens, the record stays whole.
Result<RunSummary> run_search(SearchParts parts, const SearchPolicy& policy = {});

/// `optimize --json` of DESIGN section 12.
Json to_json(const RunSummary& summary, const RunOptions& options, const std::string& source_path);

}  // namespace quern
