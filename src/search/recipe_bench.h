// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "search/credit.h"
#include "search/recipe_proposer.h"

namespace quern {

/// What runs of a comparison have alike.
struct EqualBudget {
  enum class Kind { kAttempts, kCalls, kUsd, kSeconds };
  Kind kind = Kind::kAttempts;
  double amount = 32;
};
/// "calls=40", "usd=0.5", "seconds=600", "attempts=32". Errors: kUsage.
Result<EqualBudget> parse_equal(const std::string& text);
/// "40 calls of models".
std::string print(const EqualBudget& equal);

/// A best-so-far curve, a step function: from `at` on (share of the budget, 0–1) the best verified
/// kernel is `speedup` times as fast as the plain version.
struct CurveStep {
  double at = 0;
  double speedup = 1;
};

/// One run of a comparison.
struct BenchRun {
  std::string recipe, task, directory;
  uint64_t seed = 0;
  bool verified = false;  ///< ends with a verified kernel
  bool improved = false;  ///< which the duel says is faster than the fastest baseline
  /// Plain time ÷ best time; by duel where the plain version is the fastest baseline, else by
  /// medians; 1 without a verified kernel.
  double over_naive = 1;
  /// Fastest baseline ÷ best, by duel; of the plain version without a verified kernel.
  double over_baseline = 1;
  double area = 0;  ///< mean over the budget of ln(best so far over the plain version)
  std::vector<CurveStep> curve;
  int attempts = 0;
  llm::Spend spend;
  double wall_s = 0;
  std::vector<CreditRow> credit;
  std::vector<std::string> differences;  ///< of its replay from the record; none: bit for bit
};

/// Reads a finished run: replays it with `proposer`, which asks `log` where it asks models at all
/// (then it is a RecipeProposer).
Result<BenchRun> measure_run(const RecordedRun& recorded, const EqualBudget& equal,
                             Proposer& proposer, const CallLog& log);

/// A value with its 95 % bootstrap interval.
struct Interval {
  double value = 0, low = 0, high = 0;
};

/// A recipe over all its runs. Means are geometric for speedups.
struct RecipeScore {
  std::string recipe;
  int runs = 0;
  Interval over_naive, over_baseline;
  Interval verified, improved;  ///< shares, 0–1
  Interval area;                ///< geometric mean of the best so far over the whole budget
  Interval over_first;  ///< `over_naive` over that of the first recipe, same tasks and seeds
  int attempts = 0;
  llm::Spend spend;
  double wall_s = 0;
  std::vector<CreditRow> credit;  ///< most credit first, within its kind
};

/// One score for each recipe, in order of first appearance. Tasks are drawn with replacement, then
/// seeds within each, `draws` times, the same draws for all recipes; a recipe is to have every pair
/// of task and seed.
std::vector<RecipeScore> score_recipes(const std::vector<BenchRun>& runs, int draws = 2000);

/// What `quern bench recipes` found, with how it was asked for.
struct RecipeComparison {
  EqualBudget equal;
  std::string model, size, clock;
  int seeds = 0;
  Environment environment;
  std::vector<BenchRun> runs;
  std::vector<RecipeScore> scores;
};

Json to_json(const RecipeComparison& comparison);
/// Plain text, a row for each recipe; then who was paid.
std::string table_text(const RecipeComparison& comparison);
/// A self-contained HTML page.
std::string render_comparison(const RecipeComparison& comparison);

}  // namespace quern
