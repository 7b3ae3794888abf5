// SPDX-License-Identifier: Apache-2.0
#include "search/replay.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "search/simulated_evaluator.h"
#include "search/sweep_proposer.h"
#include "search/what_if.h"

namespace quern {
namespace {

using testing::Contains;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kSeed = 5;

/// A whole run of the small proposer against the referee that runs nothing.
RecordedRun recorded_run(int attempts) {
  SimulatedEvaluator evaluator({.seed = kSeed});
  RunOptions options;
  options.task_name = "relu";
  options.seed = kSeed;
  options.budget_attempts = attempts;
  auto store = RunStore::in_memory(options, evaluator.environment(), evaluator.work());
  EXPECT_TRUE(store);
  SweepProposer proposer("relu", kSeed);
  auto summary = run_search({evaluator, proposer, *store, {}, {}});
  EXPECT_TRUE(summary) << summary.error().message;
  EXPECT_TRUE(store->set_summary(to_json(*summary, options, "")));
  return *load_recorded(*store);
}

TEST(Replay, TakesTheSameCourseWithoutJudgingAnything) {
  const RecordedRun recorded = recorded_run(40);
  SweepProposer proposer("relu", kSeed);
  const auto outcome = replay_run(recorded, proposer);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_THAT(outcome->differences, IsEmpty());
  EXPECT_EQ(outcome->replayed, 42);  // with two baselines
  ASSERT_TRUE(outcome->best);
  Attempt last = outcome->attempts.back();
  last.time = recorded.attempts.back().time;  // of the record alone
  EXPECT_EQ(to_json(last), to_json(recorded.attempts.back()));
}

TEST(Replay, NamesTheAttemptWhereAnotherSeedTurnsOff) {
  const RecordedRun recorded = recorded_run(40);
  SweepProposer proposer("relu", kSeed + 1);
  const auto outcome = replay_run(recorded, proposer);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_THAT(outcome->differences, Contains(Field(&ReplayDifference::replayed,
                                                   HasSubstr("no evaluation of candidate"))));
  EXPECT_EQ(outcome->replayed, 2) << "the baselines alone";
}

TEST(Replay, FindsARecordThatWasChanged) {
  RecordedRun recorded = recorded_run(24);
  recorded.attempts[10].action = "something else";
  recorded.attempts[12].evaluation.roofline += 0.25;
  SweepProposer proposer("relu", kSeed);
  auto outcome = replay_run(recorded, proposer);
  ASSERT_TRUE(outcome);
  ASSERT_THAT(outcome->differences, Contains(Field(&ReplayDifference::number, 10)));
  EXPECT_EQ(outcome->differences[0].field, "action");
  // The evaluation is told from the record, so that only its consequences can differ.
  recorded = recorded_run(24);
  recorded.duels.clear();
  SweepProposer again("relu", kSeed);
  outcome = replay_run(recorded, again);
  ASSERT_TRUE(outcome);
  EXPECT_THAT(outcome->differences, Contains(Field(&ReplayDifference::field, "duels")));
}

TEST(Replay, GoesAsFarAsAKilledRunIsWhole) {
  RecordedRun recorded = recorded_run(24);
  recorded.run.state = "running";
  recorded.run.search_attempts.reset();
  recorded.attempts.erase(recorded.attempts.begin() + 20);
  EXPECT_EQ(recorded.searched(), 18);
  SweepProposer proposer("relu", kSeed);
  const auto outcome = replay_run(recorded, proposer);
  ASSERT_TRUE(outcome);
  EXPECT_THAT(outcome->differences, IsEmpty());
  EXPECT_EQ(outcome->replayed, 20);
}

TEST(Replay, BestSoFarNeverGetsWorse) {
  const std::vector<double> curve = best_so_far(recorded_run(40).attempts);
  ASSERT_EQ(curve.size(), 40u);
  for (size_t i = 1; i < curve.size(); ++i) {
    if (curve[i - 1] > 0) {
      EXPECT_LE(curve[i], curve[i - 1]);
    }
  }
  EXPECT_GT(curve.back(), 0);
}

std::string kernel(int number) { return fmt::format("// {}\nvoid relu() {{}}\n", number); }

std::string id_of(int number) { return make_candidate(kernel(number), "").id; }

/// A record by hand: candidate `number`, made from `parent` (0: the plain version) by `action`.
struct Row {
  int number, parent;
  const char* action;
  double ns;  ///< 0: it was wrong
};
RecordedRun record_of(const std::vector<Row>& rows) {
  RecordedRun recorded;
  Attempt naive;
  naive.candidate = make_candidate("naive", "baseline");
  naive.candidate.note = "naive";
  Passed passed;
  passed.timing.median_ns = 1000;
  naive.evaluation.verdict = passed;
  recorded.attempts.push_back(naive);
  for (const Row& row : rows) {
    Attempt& attempt = recorded.attempts.emplace_back();
    attempt.number = static_cast<int>(recorded.attempts.size()) - 1;
    attempt.candidate = make_candidate(kernel(row.number), "other");
    if (row.parent > 0) attempt.candidate.parents = {id_of(row.parent)};
    attempt.action = row.action;
    passed.timing.median_ns = row.ns;
    attempt.evaluation.verdict = WrongResult{"wrong", ""};
    if (row.ns > 0) attempt.evaluation.verdict = passed;
  }
  return recorded;
}

TEST(RecordedKernels, GiveTheEarliestOfTheSameOperatorFirst) {
  const RecordedRun recorded = record_of(
      {{1, 0, "draft", 500}, {2, 1, "tune", 400}, {3, 1, "rewrite", 300}, {4, 1, "rewrite", 200}});
  RecordedKernels kernels(recorded);
  EXPECT_EQ(kernels.take(id_of(1), "rewrite", ""), kernel(3));
  EXPECT_EQ(kernels.take(id_of(1), "rewrite", ""), kernel(4));
  EXPECT_EQ(kernels.borrowed(), 0);
  EXPECT_EQ(kernels.take(id_of(1), "rewrite", ""), kernel(2));
  EXPECT_EQ(kernels.borrowed(), 1);
  EXPECT_EQ(kernels.take(id_of(1), "rewrite", ""), std::nullopt);
  EXPECT_THAT(kernels.missing(), HasSubstr("'rewrite' on attempt 1"));
  EXPECT_EQ(kernels.take("", "draft", ""), std::nullopt) << "once it is left, it is left for good";
  EXPECT_EQ(kernels.taken(), 3);
}

Recipe working_on(const std::string& selector) {
  auto recipe =
      parse_recipe(fmt::format("title = \"t\"\nsource = \"s\"\nfaithful = \"f\"\n"
                               "[select]\nuse = \"{}\"\n"
                               "[[operator]]\nname = \"rewrite\"\nroles = [\"rewrite\"]\n",
                               selector),
                   "mine");
  EXPECT_TRUE(recipe) << recipe.error().message;
  return *recipe;
}

TEST(WhatIf, RunsAnotherSelectorAsFarAsTheRecordReaches) {
  // Recorded: two tries on the plain version, then one on each; the first try is the better one.
  const RecordedRun recorded = record_of({{1, 0, "rewrite", 400},
                                          {2, 0, "rewrite", 800},
                                          {3, 2, "rewrite", 700},
                                          {4, 1, "rewrite", 200}});
  auto best = what_if(recorded, working_on("best"), {});
  ASSERT_TRUE(best) << best.error().message;
  EXPECT_EQ(best->best_ns, (std::vector<double>{400, 200}));
  EXPECT_EQ(best->recorded_best_ns, (std::vector<double>{400, 400}));
  EXPECT_EQ(best->reached, 2);
  EXPECT_EQ(best->available, 4);
  EXPECT_THAT(best->left, HasSubstr("on attempt 4"));
}

TEST(WhatIf, SaysNothingOfLeavingWhereItTookAll) {
  const RecordedRun recorded = record_of({{1, 0, "rewrite", 400}, {2, 1, "rewrite", 200}});
  const auto made = what_if(recorded, working_on("best"), {});
  ASSERT_TRUE(made);
  EXPECT_EQ(made->reached, 2);
  EXPECT_EQ(made->left, "");
}

TEST(WhatIf, OfARecordedRunOfRulesAskedAgainIsTheRun) {
  const RecordedRun recorded = recorded_run(16);
  SweepProposer proposer("relu", kSeed);
  const auto made = what_if(recorded, proposer);
  ASSERT_TRUE(made);
  EXPECT_EQ(made->reached, 16);
  EXPECT_EQ(made->best_ns, made->recorded_best_ns);
}

}  // namespace
}  // namespace quern
