// SPDX-License-Identifier: Apache-2.0
#include "search/suite_samples.h"

#include <gtest/gtest.h>

#include "search/simulated_evaluator.h"

namespace quern {
namespace {

std::vector<Candidate> candidates(int count) {
  std::vector<Candidate> made;
  for (int i = 0; i < count; ++i) {
    made.push_back(make_candidate("int f" + std::to_string(i) + ";", "human"));
  }
  return made;
}

RunStore store() {
  SimulatedEvaluator evaluator({});
  return RunStore::in_memory({}, evaluator.environment(), evaluator.work()).value();
}

TEST(JudgeSamples, EverySampleHasAVerdictAndThoseThatPassedASpeedup) {
  RunStore run = store();
  SimulatedEvaluator evaluator({});
  const auto offered = candidates(20);
  ASSERT_TRUE(*judge_samples(run, evaluator, offered, nullptr));
  const RecordedRun recorded = *load_recorded(run);
  int passed = 0;
  for (const Candidate& candidate : offered) {
    const auto sample = sample_of(recorded, candidate.id);
    ASSERT_TRUE(sample);
    EXPECT_EQ(sample->passed(), sample->speedup > 0) << sample->state;
    EXPECT_EQ(sample->passed(), sample->reason.empty());
    EXPECT_EQ(sample->passed(), !sample->baseline.empty());
    passed += sample->passed() ? 1 : 0;
  }
  EXPECT_GT(passed, 0);
  EXPECT_LT(passed, 20);
  EXPECT_EQ(evaluator.duels(), passed);
  EXPECT_EQ(recorded.run.state, "finished");
}

TEST(JudgeSamples, WhatIsOnRecordIsNotJudgedAgain) {
  RunStore run = store();
  SimulatedEvaluator first({}), second({});
  const auto offered = candidates(20);
  ASSERT_TRUE(*judge_samples(run, first, {offered.begin(), offered.begin() + 12}, nullptr));
  ASSERT_TRUE(*judge_samples(run, second, offered, nullptr));
  EXPECT_EQ(second.evaluations(), 8) << "neither baselines nor the first twelve";
  SimulatedEvaluator third({});
  ASSERT_TRUE(*judge_samples(run, third, offered, nullptr));
  EXPECT_EQ(third.evaluations() + third.duels(), 0);
}

TEST(JudgeSamples, StoppedHalfWayItGoesOnToTheSameRecord) {
  RunStore whole = store(), broken = store();
  const auto offered = candidates(30);
  SimulatedEvaluator evaluator({});
  ASSERT_TRUE(*judge_samples(whole, evaluator, offered, nullptr));
  int asked = 0;
  const auto stop = [&asked] { return ++asked > 14; };
  bool ended = *judge_samples(broken, evaluator, offered, stop);
  EXPECT_FALSE(ended);
  EXPECT_EQ(broken.run()->state, "interrupted");
  ASSERT_TRUE(*judge_samples(broken, evaluator, offered, nullptr));
  const RecordedRun a = *load_recorded(whole), b = *load_recorded(broken);
  for (const Candidate& candidate : offered) {
    EXPECT_EQ(sample_of(a, candidate.id)->speedup, sample_of(b, candidate.id)->speedup);
    EXPECT_EQ(sample_of(a, candidate.id)->state, sample_of(b, candidate.id)->state);
  }
}

TEST(JudgeSamples, TheSameSourceTwiceIsJudgedOnce) {
  RunStore run = store();
  SimulatedEvaluator evaluator({});
  const int baselines = static_cast<int>(evaluator.baselines()->size());
  const auto one = candidates(1);
  ASSERT_TRUE(*judge_samples(run, evaluator, {one[0], one[0]}, nullptr));
  EXPECT_EQ(evaluator.evaluations(), baselines + 1);
}

TEST(SampleOf, AnUnknownCandidateHasNone) {
  RunStore run = store();
  EXPECT_FALSE(sample_of(*load_recorded(run), "nothing"));
}

TEST(SampleOfSearch, SaysWhatBecameOfTheCandidatesWhereNoneWasRight) {
  RunRecord run;
  run.summary =
      Json{{"attempts", {{"total", 5}, {"by_verdict", {{"wrong_result", 5}}}}}, {"best", nullptr}};
  const SuiteSample sample = sample_of_search(run);
  EXPECT_EQ(sample.state, "no_kernel");
  EXPECT_EQ(sample.reason, "none of 5 candidates passed, 5 wrong_result");
}

TEST(SampleOfSearch, BlamesNoKernelWhereNoBaselinePasses) {
  RunRecord run;
  run.summary = Json{{"attempts", {{"total", 6}, {"by_verdict", {{"passed", 6}}}}},
                     {"best", {{"number", 4}, {"speedup", nullptr}}}};
  const SuiteSample sample = sample_of_search(run);
  EXPECT_EQ(sample.state, "not_run");
  EXPECT_EQ(sample.reason, "no baseline passes: there is nothing to compare with");
}

}  // namespace
}  // namespace quern
