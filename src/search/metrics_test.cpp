// SPDX-License-Identifier: Apache-2.0
#include "search/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace quern::metrics {
namespace {

constexpr double kFail = std::numeric_limits<double>::infinity();

/// The mean over every choice of `k` of the samples, by going through all subsets.
double mean_over_subsets(const std::vector<double>& values, int k,
                         const std::function<double(const std::vector<double>&)>& of) {
  double total = 0;
  int subsets = 0;
  for (unsigned mask = 0; mask < (1U << values.size()); ++mask) {
    if (__builtin_popcount(mask) != k) continue;
    std::vector<double> chosen;
    for (size_t i = 0; i < values.size(); ++i) {
      if ((mask >> i) & 1U) chosen.push_back(values[i]);
    }
    total += of(chosen);
    ++subsets;
  }
  return total / subsets;
}

TEST(PassAtK, EqualsTheShareOfSubsetsWithARightSample) {
  for (int correct = 0; correct <= 7; ++correct) {
    std::vector<double> right(7, 0);
    std::fill(right.begin(), right.begin() + correct, 1);
    for (int k = 1; k <= 7; ++k) {
      const double expected = mean_over_subsets(right, k, [](const std::vector<double>& chosen) {
        return *std::ranges::max_element(chosen);
      });
      EXPECT_NEAR(pass_at_k(7, correct, k), expected, 1e-12) << correct << " " << k;
    }
  }
}

TEST(PassAtK, StaysExactForManySamples) {
  // 1 - C(1990, 2) / C(2000, 2) = 1 - (1990 · 1989) / (2000 · 1999)
  EXPECT_NEAR(pass_at_k(2000, 10, 2), 1 - 1990.0 * 1989 / (2000.0 * 1999), 1e-12);
}

TEST(PassAtK, HasNoValueOutsideItsDomain) {
  EXPECT_TRUE(std::isnan(pass_at_k(5, 2, 6)));
  EXPECT_TRUE(std::isnan(pass_at_k(5, 2, 0)));
  EXPECT_TRUE(std::isnan(pass_at_k(5, 6, 1)));
  EXPECT_TRUE(std::isnan(pass_at_k(5, -1, 1)));
}

TEST(SpeedupAtK, EqualsTheMeanBestOfAllSubsets) {
  const std::vector<double> times = {4, 1, 9, 2, kFail, 3, 16};
  for (int k = 1; k <= 7; ++k) {
    const double expected = mean_over_subsets(times, k, [](const std::vector<double>& chosen) {
      return 12 / *std::ranges::min_element(chosen);
    });
    EXPECT_NEAR(speedup_at_k(12, times, k), expected, 1e-12) << k;
  }
}

TEST(SpeedupAtK, IsTheMeanForOneAndTheBestForAll) {
  const std::vector<double> times = {2, 4, 8};
  EXPECT_DOUBLE_EQ(speedup_at_k(8, times, 1), (4 + 2 + 1) / 3.0);
  EXPECT_DOUBLE_EQ(speedup_at_k(8, times, 3), 4);
}

TEST(SpeedupAtK, GrowsWithEveryDraw) {
  const std::vector<double> times = {5, 3, kFail, 8, 1, 13};
  for (int k = 2; k <= 6; ++k) EXPECT_GT(speedup_at_k(6, times, k), speedup_at_k(6, times, k - 1));
}

TEST(SpeedupAtK, IsZeroWhereEverySampleFailed) {
  const std::vector<double> times = {kFail, kFail};
  EXPECT_EQ(speedup_at_k(1, times, 2), 0);
}

TEST(EfficiencyAtK, DividesBySharedResources) {
  const std::vector<double> times = {2, 4, 8};
  EXPECT_DOUBLE_EQ(efficiency_at_k(8, times, 3, 8), 0.5);
  EXPECT_TRUE(std::isnan(efficiency_at_k(8, times, 3, 0)));
}

TEST(FastP, IsStrictAndCountsFailuresAsSlow) {
  const std::vector<double> speedups = {1, 1.5, 2, kFailed};
  EXPECT_DOUBLE_EQ(fast_p(speedups, 1), 0.5);
  EXPECT_DOUBLE_EQ(fast_p(speedups, 0), 0.75);
  EXPECT_DOUBLE_EQ(fast_p(speedups, 2), 0);
}

TEST(WinAtP, ComparesEachPairWithTheBestKnown) {
  const std::vector<double> best = {10, 10, 10, 10};
  const std::vector<double> times = {5, 10, 20, kFail};
  EXPECT_DOUBLE_EQ(win_at_p(best, times, 1), 0.25);
  EXPECT_DOUBLE_EQ(win_at_p(best, times, 0.4), 0.75);
  EXPECT_TRUE(std::isnan(win_at_p(best, std::vector<double>{1}, 1)));
}

TEST(GeometricMeanOf, SaysWhatItMadeOfFailures) {
  const std::vector<double> speedups = {2, 8, kFailed};
  const GeometricMean without = geometric_mean(speedups, Failures::kExcluded);
  EXPECT_NEAR(without.value, 4, 1e-12);
  EXPECT_EQ(without.counted, 2);
  EXPECT_EQ(without.failed, 1);
  const GeometricMean fallback = geometric_mean(speedups, Failures::kAsBaseline);
  EXPECT_NEAR(fallback.value, std::cbrt(16), 1e-12);
  EXPECT_EQ(fallback.counted, 3);
  EXPECT_EQ(geometric_mean(speedups, Failures::kAsZero).value, 0);
}

TEST(GeometricMeanOf, HasNoValueOfNothing) {
  EXPECT_TRUE(std::isnan(geometric_mean({}, Failures::kAsBaseline).value));
  EXPECT_TRUE(
      std::isnan(geometric_mean(std::vector<double>{kFailed, kFailed}, Failures::kExcluded).value));
}

TEST(RooflineShare, TakesTheTighterOfTheTwoBounds) {
  EXPECT_DOUBLE_EQ(roofline_share(100, 10, 20, 10, 20), 0.5);  // 10 s of traffic, 2 s of work
  EXPECT_DOUBLE_EQ(roofline_share(10, 10, 200, 10, 40), 0.5);
  EXPECT_TRUE(std::isnan(roofline_share(1, 0, 1, 1, 1)));
}

TEST(SolScore, IsHalfAtTheBaselineAndOneAtTheFloor) {
  EXPECT_DOUBLE_EQ(sol_score(4, 2, 4), 0.5);
  EXPECT_DOUBLE_EQ(sol_score(2, 2, 4), 1);
  EXPECT_DOUBLE_EQ(sol_score(6, 2, 4), 1 / 3.0);
  EXPECT_GT(sol_score(1.5, 2, 4), 1);
  EXPECT_EQ(sol_score(kFail, 2, 4), 0);
}

TEST(SolScore, IsAllOrNothingWhereTheBaselineIsAtItsFloor) {
  EXPECT_EQ(sol_score(2, 2, 2), 1);
  EXPECT_EQ(sol_score(2.1, 2, 2), 0);
}

TEST(Bootstrap, CoversTheMeanOfAKnownSampleAsTheNormalLawSays) {
  // 400 tasks, half 0 and half 1: the mean has deviation 0.025, so ±1.96 of it is 0.451 to 0.549.
  const auto mean = [](std::span<const int> tasks) {
    double total = 0;
    for (const int task : tasks) total += task % 2;
    return total / static_cast<double>(tasks.size());
  };
  const Interval interval = bootstrap(400, mean, 7);
  EXPECT_DOUBLE_EQ(interval.value, 0.5);
  EXPECT_NEAR(interval.low, 0.451, 0.006);
  EXPECT_NEAR(interval.high, 0.549, 0.006);
}

TEST(Bootstrap, IsTheSameForTheSameSeedAndOtherwiseNot) {
  const auto mean = [](std::span<const int> tasks) {
    double total = 0;
    for (const int task : tasks) total += std::sqrt(task);
    return total / static_cast<double>(tasks.size());
  };
  const Interval a = bootstrap(50, mean, 1), b = bootstrap(50, mean, 1), c = bootstrap(50, mean, 2);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
  EXPECT_NE(a.low, c.low);
}

TEST(Bootstrap, OfOneTaskIsThatTask) {
  const Interval one = bootstrap(
      1, [](std::span<const int>) { return 3.0; }, 0, 10);
  EXPECT_EQ(one.low, 3);
  EXPECT_EQ(one.high, 3);
}

}  // namespace
}  // namespace quern::metrics
