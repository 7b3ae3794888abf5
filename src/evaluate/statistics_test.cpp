// SPDX-License-Identifier: Apache-2.0
#include "evaluate/statistics.h"

#include <gtest/gtest.h>

#include <random>

namespace quern {
namespace {

TEST(Median, IsTheMiddleOrTheMeanOfTheTwoMiddleOnes) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(median({7}), 7);
}

TEST(MedianInterval, MatchesTheBinomialTable) {
  // n = 10: dropping one value at each end leaves 1 - 2 * 11/1024 = 0.979.
  const std::vector<double> ten = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  EXPECT_EQ(median_interval(ten, 0.95).low, 2);
  EXPECT_EQ(median_interval(ten, 0.95).high, 9);
  EXPECT_EQ(median_interval(ten, 0.99).low, 1);
}

TEST(MedianInterval, IsTheWholeRangeWhenTheSampleIsTooSmall) {
  EXPECT_EQ(median_interval({5, 6, 7}, 0.99).low, 5);
  EXPECT_EQ(median_interval({5, 6, 7}, 0.99).high, 7);
  EXPECT_EQ(median_interval({5}, 0.95).low, 5);
}

TEST(WithoutExtremes, LeavesOutOneValueAtEachEnd) {
  const Interval inner = without_extremes({5, 1, 3, 9, 4});
  EXPECT_EQ(inner.low, 3);
  EXPECT_EQ(inner.high, 5);
}

TEST(MedianInterval, CoversTheTrueMedianAsOftenAsItSays) {
  std::mt19937 random(1);
  std::normal_distribution<double> noise(10, 3);
  int covered = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<double> values(15);
    for (double& value : values) value = noise(random);
    const Interval interval = median_interval(values, 0.95);
    covered += interval.low <= 10 && 10 <= interval.high;
  }
  EXPECT_GE(covered, 1900);
}

/// Runs a whole duel on drawn ratios, looking after each pair as the timer does.
DuelState duel(std::mt19937& random, double ratio, double deviation, const DuelPolicy& policy) {
  std::normal_distribution<double> noise(ratio, deviation);
  std::vector<double> ratios;
  for (;;) {
    ratios.push_back(noise(random));
    const DuelState state = assess_duel(ratios, policy);
    if (state.finished) return state;
  }
}

TEST(Duel, RarelyCallsEqualKernelsDifferent) {
  std::mt19937 random(2);
  int different = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    different += duel(random, 1.0, 0.05, {}).different;
  }
  EXPECT_LE(different, 20);  // alpha = 0.5 %: 10 expected at most
}

TEST(Duel, SeesATwoPercentDifferenceThroughTwoPercentNoise) {
  std::mt19937 random(3);
  int seen = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const DuelState state = duel(random, 1.03, 0.02, {});
    seen += state.different && state.ratio > 1;
  }
  EXPECT_GE(seen, 190);
}

TEST(Duel, StopsEarlyWhenTheAnswerIsPlain) {
  std::mt19937 random(4);
  std::vector<double> ratios;
  const DuelPolicy policy;
  for (int i = 0; i < policy.first_look; ++i) ratios.push_back(2.0 + 0.005 * i);
  EXPECT_TRUE(assess_duel(ratios, policy).finished);
  EXPECT_TRUE(assess_duel(ratios, policy).different);
  ratios.pop_back();
  EXPECT_FALSE(assess_duel(ratios, policy).finished);
}

TEST(Duel, GoesOnWhileTheIntervalIsWide) {
  std::vector<double> ratios;
  const DuelPolicy policy;
  for (int i = 0; i < policy.max_ratios; ++i) {
    ratios.push_back(i % 2 == 0 ? 1.5 : 2.5);
    const DuelState state = assess_duel(ratios, policy);
    if (i + 1 == policy.first_look) {
      EXPECT_TRUE(state.different);
    }
    EXPECT_EQ(state.finished, i + 1 == policy.max_ratios);
  }
}

}  // namespace
}  // namespace quern
