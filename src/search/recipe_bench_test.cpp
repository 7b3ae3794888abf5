// SPDX-License-Identifier: Apache-2.0
#include "search/recipe_bench.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "search/simulated_evaluator.h"
#include "search/sweep_proposer.h"
#include "search/what_if.h"

namespace quern {
namespace {

using testing::HasSubstr;
using testing::Not;

const CreditRow* find(const std::vector<CreditRow>& rows, const std::string& kind,
                      const std::string& name) {
  for (const CreditRow& row : rows) {
    if (row.kind == kind && row.name == name) return &row;
  }
  return nullptr;
}

CreditCall call(const std::string& made_by, const std::string& role, int64_t nano_usd) {
  CreditCall made;
  made.made_by = made_by;
  made.role = role;
  made.model = "lab/m";
  made.view = "self";
  made.spend = {1, 100, nano_usd};
  return made;
}

/// plain 800 → a 400 (draft) → b wrong (rewrite) → c 200 (repair) → d 100 (plan, then rewrite);
/// e, of a, is no better and on nobody's lineage.
struct Lineage {
  std::vector<CreditCall> calls = {call("draft", "draft", 10),     call("refine", "rewrite", 20),
                                   call("mend", "repair", 30),     call("planned", "plan", 5),
                                   call("planned", "rewrite", 35), call("refine", "rewrite", 20)};
  std::map<std::string, CreditedAttempt> attempts = {{"a", {"draft", "", 400, {0}}},
                                                     {"b", {"refine", "a", 0, {1}}},
                                                     {"c", {"mend", "b", 200, {2}}},
                                                     {"d", {"planned: tile", "c", 100, {3, 4}}},
                                                     {"e", {"refine", "a", 500, {5}}}};
  std::vector<CreditRow> rows = credit_rows(attempts, calls, "d", 800);
};

TEST(Credit, SumsToTheLogarithmOfTheWholeSpeedup) {
  const Lineage l;
  for (const char* kind : {"operator", "role", "model", "view"}) {
    double sum = 0;
    for (const CreditRow& row : l.rows) sum += row.kind == kind ? row.credit : 0;
    EXPECT_NEAR(sum, std::log(8), 1e-12) << kind;
  }
}

TEST(Credit, GoesToTheStepsOfTheLineage) {
  const Lineage l;
  EXPECT_NEAR(find(l.rows, "operator", "draft")->credit, std::log(2), 1e-12);
  EXPECT_NEAR(find(l.rows, "strategy", "tile")->credit, std::log(2), 1e-12);
  EXPECT_NEAR(find(l.rows, "operator", "planned")->credit, std::log(2), 1e-12);
}

TEST(Credit, OfAMendedStepIsSharedWithTheFailureBeforeIt) {
  const Lineage l;
  EXPECT_NEAR(find(l.rows, "operator", "refine")->credit, std::log(2) / 2, 1e-12);
  EXPECT_NEAR(find(l.rows, "operator", "mend")->credit, std::log(2) / 2, 1e-12);
}

TEST(Credit, OfAnAttemptIsSharedByTheCallsThatWroteIt) {
  const Lineage l;
  EXPECT_NEAR(find(l.rows, "role", "plan")->credit, std::log(2) / 2, 1e-12);
  // Half of d, half of the mended step; e brought nothing and was paid for.
  const CreditRow* rewrite = find(l.rows, "role", "rewrite");
  EXPECT_NEAR(rewrite->credit, std::log(2), 1e-12);
  EXPECT_EQ(rewrite->uses, 3);
  EXPECT_EQ(rewrite->spend.nano_usd, 75);
}

TEST(Credit, IsNoneWithoutAKernelAndCostsStay) {
  const Lineage l;
  const auto rows = credit_rows(l.attempts, l.calls, "", 800);
  for (const CreditRow& row : rows) EXPECT_EQ(row.credit, 0);
  EXPECT_EQ(find(rows, "model", "lab/m")->spend.nano_usd, 120);
}

BenchRun run_of(const std::string& recipe, const std::string& task, uint64_t seed, double speedup) {
  BenchRun run;
  run.recipe = recipe;
  run.task = task;
  run.seed = seed;
  run.verified = speedup > 0;
  run.over_naive = speedup > 0 ? speedup : 1;
  run.over_baseline = run.over_naive / 2;
  run.area = std::log(run.over_naive) / 2;
  return run;
}

std::vector<BenchRun> two_recipes() {
  std::vector<BenchRun> runs;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    for (const char* task : {"a", "b", "c"}) {
      const double base = 2 + static_cast<double>(seed) + (task[0] - 'a');
      runs.push_back(run_of("plain", task, seed, base));
      runs.push_back(run_of("thrice", task, seed, 3 * base));
      runs.push_back(run_of("half", task, seed, seed % 2 == 0 ? base : 0));
    }
  }
  return runs;
}

TEST(Scores, AreGeometricMeansInsideTheirIntervals) {
  const auto scores = score_recipes(two_recipes());
  ASSERT_EQ(scores.size(), 3u);
  double sum = 0;
  for (int seed = 0; seed < 4; ++seed) {
    for (int task = 0; task < 3; ++task) sum += std::log(2 + seed + task);
  }
  EXPECT_NEAR(scores[0].over_naive.value, std::exp(sum / 12), 1e-9);
  for (const RecipeScore& score : scores) {
    EXPECT_LT(score.over_naive.low, score.over_naive.value);
    EXPECT_GT(score.over_naive.high, score.over_naive.value);
    EXPECT_EQ(score.runs, 12);
  }
  EXPECT_NEAR(scores[2].verified.value, 0.5, 1e-12);
}

TEST(Scores, ComparePairedSoThatAConstantFactorHasNoSpread) {
  const auto scores = score_recipes(two_recipes());
  EXPECT_NEAR(scores[1].over_first.value, 3, 1e-9);
  EXPECT_NEAR(scores[1].over_first.low, 3, 1e-9);
  EXPECT_NEAR(scores[1].over_first.high, 3, 1e-9);
}

TEST(Scores, OfTheSameRunsAreTheSame) {
  const auto a = score_recipes(two_recipes()), b = score_recipes(two_recipes());
  EXPECT_EQ(a[2].over_naive.low, b[2].over_naive.low);
  EXPECT_EQ(a[2].verified.high, b[2].verified.high);
}

TEST(EqualBudget, IsReadOrRefusedWithAHint) {
  EXPECT_EQ(parse_equal("calls=40")->kind, EqualBudget::Kind::kCalls);
  EXPECT_EQ(parse_equal("usd=0.25")->amount, 0.25);
  EXPECT_EQ(print(*parse_equal("seconds=9")), "9 seconds of wall time");
  for (const char* bad : {"", "calls", "calls=", "calls=1.5", "usd=-1", "cals=3", "seconds=3x"}) {
    EXPECT_FALSE(parse_equal(bad)) << bad;
  }
  EXPECT_THAT(parse_equal("cals=3").error().hint, HasSubstr("'calls'"));
}

/// A recorded run of the small proposer, and what the comparison makes of it. `duels`: how all of
/// them ended in place of what they did; 0: as they did.
BenchRun measured(int attempts, const EqualBudget& equal,
                  SimulatedEvaluator::Options simulated = {}, double duels = 0) {
  simulated.seed = 2;
  SimulatedEvaluator evaluator(simulated);
  RunOptions options;
  options.recipe = "rules";
  options.task_name = "relu";
  options.budget_attempts = attempts;
  auto store = RunStore::in_memory(options, evaluator.environment(), evaluator.work());
  SweepProposer first("relu", 2);
  auto summary = run_search({evaluator, first, *store, {}, {}});
  EXPECT_TRUE(store->set_summary(to_json(*summary, options, "")));
  RecordedRun recorded = *load_recorded(*store);
  for (DuelRecord& record : recorded.duels) {
    if (duels > 0) record.duel.speedup = duels;
  }
  NoClient nobody;
  CallLog log(nobody);
  SweepProposer again("relu", 2);
  auto run = measure_run(recorded, equal, again, log);
  EXPECT_TRUE(run) << run.error().message;
  return *run;
}

TEST(MeasureRun, ReadsARunFromItsRecord) {
  const BenchRun run = measured(32, {EqualBudget::Kind::kAttempts, 32});
  EXPECT_THAT(run.differences, testing::IsEmpty());
  EXPECT_TRUE(run.verified);
  EXPECT_EQ(run.attempts, 32);
  ASSERT_FALSE(run.curve.empty());
  EXPECT_NEAR(run.curve.back().speedup, run.over_naive, 1e-9);
  EXPECT_GT(run.area, 0);
  EXPECT_LT(run.area, std::log(run.over_naive));
}

TEST(MeasureRun, TrustsTheDuelWithThePlainVersionMoreThanMedians) {
  const EqualBudget equal{EqualBudget::Kind::kAttempts, 32};
  EXPECT_EQ(measured(32, equal, {.naive_ns = 1}, 7).over_naive, 7) << "it is the fastest baseline";
  EXPECT_NE(measured(32, equal, {.naive_ns = 1e9}, 7).over_naive, 7) << "the library is";
}

TEST(MeasureRun, CountsWhatWasNotUsedAsTimeWithTheBest) {
  const BenchRun all = measured(32, {EqualBudget::Kind::kAttempts, 32});
  const BenchRun part = measured(32, {EqualBudget::Kind::kAttempts, 64});
  EXPECT_GT(part.area, all.area);
}

TEST(Comparison, IsOnePageThatNeedsNothingElse) {
  RecipeComparison comparison;
  comparison.runs = two_recipes();
  comparison.runs[0].recipe = "plain";
  comparison.scores = score_recipes(comparison.runs);
  const std::string page = render_comparison(comparison);
  EXPECT_THAT(page, HasSubstr("thrice"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  EXPECT_EQ(to_json(comparison)["recipes"].size(), 3u);
  EXPECT_THAT(table_text(comparison), HasSubstr("95 % bootstrap"));
}

}  // namespace
}  // namespace quern
