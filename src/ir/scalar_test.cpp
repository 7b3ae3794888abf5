// SPDX-License-Identifier: Apache-2.0
#include "ir/scalar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace quern {
namespace {

TEST(Exact, KnowsTheLowestSetBitOfALeaf) {
  EXPECT_EQ(Exact(1.0).g, 0);
  EXPECT_EQ(Exact(0.5).g, -1);
  EXPECT_EQ(Exact(12.0).g, 2);
  EXPECT_EQ(Exact(-3.0).g, 0);
  EXPECT_EQ(Exact(0.0).g, Exact::kZeroGrain);
}

TEST(Exact, RefusesALeafThatF32CannotHold) {
  EXPECT_TRUE(Exact(16777216.0).ok);
  EXPECT_TRUE(Exact(33554432.0).ok);
  EXPECT_FALSE(Exact(16777217.0).ok);
  EXPECT_FALSE(Exact(0.1).ok);
}

TEST(Exact, SumIsExactWhileMagnitudesFit) {
  Exact big(16777215.0), one(1.0), two(2.0);
  EXPECT_TRUE((big + one).ok);
  EXPECT_FALSE((big + two).ok);
  EXPECT_TRUE((big - one).ok);
  EXPECT_EQ((big - one).v, 16777214.0);
}

TEST(Exact, AccumulatorCountsMagnitudesNotCancelledSums) {
  SumAccumulator<Exact> sum;
  for (int i = 0; i < 4; ++i) {
    sum.add(Exact(8388608.0));
    sum.add(Exact(-8388608.0));
  }
  EXPECT_TRUE(sum.result().ok) << "all terms are multiples of 2^23, so the bound is 2^47";
  sum.add(Exact(1.0));
  EXPECT_FALSE(sum.result().ok) << "in some order a partial sum needs 25 bits";
  EXPECT_EQ(sum.result().v, 1.0);
}

TEST(Exact, ProductOfMantissasMustFit) {
  EXPECT_TRUE((Exact(4095.0) * Exact(4095.0)).ok);
  EXPECT_FALSE((Exact(4097.0) * Exact(4099.0)).ok);
  EXPECT_TRUE((Exact(4097.0) * Exact(4096.0)).ok);
}

TEST(Exact, QuotientNeedsAPowerOfTwo) {
  EXPECT_TRUE((Exact(3.0) / Exact(-4.0)).ok);
  EXPECT_EQ((Exact(3.0) / Exact(-4.0)).g, -2);
  EXPECT_FALSE((Exact(6.0) / Exact(3.0)).ok);
  EXPECT_FALSE((Exact(6.0) / Exact(0.0)).ok);
}

TEST(Exact, FunctionsAreExactOnlyAtTrivialPoints) {
  EXPECT_TRUE(op_exp(Exact(0.0)).ok);
  EXPECT_EQ(op_exp(Exact(0.0)).v, 1.0);
  EXPECT_TRUE(op_exp(Exact(-INFINITY)).ok);
  EXPECT_FALSE(op_exp(Exact(1.0)).ok);
  EXPECT_TRUE(op_erf(Exact(0.0)).ok);
  EXPECT_FALSE(op_rsqrt(Exact(1.0)).ok);
}

TEST(Exact, AnUntrustedComparisonTaintsWhatItChooses) {
  Exact sure(1.0), unsure(2.0, 0, false);
  auto pick = [&](const Exact& a) {
    return op_select(
        op_gt(a, Exact(0.0)), [] { return Exact(5.0); }, [] { return Exact(7.0); });
  };
  EXPECT_TRUE(pick(sure).ok);
  EXPECT_FALSE(pick(unsure).ok);
  EXPECT_EQ(pick(unsure).v, 5.0);
}

/// Whatever `Exact` calls exact is the same in every order of f32 additions tried.
TEST(Exact, WhatIsCalledExactIsTheSameInEveryOrder) {
  std::mt19937 random(7);
  int trusted = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<float> terms(12);
    int bits = static_cast<int>(random() % 26);
    for (float& term : terms) {
      term = static_cast<float>(static_cast<int64_t>(random() % (1u << bits)) - (1 << bits) / 2);
    }
    SumAccumulator<Exact> sum;
    for (float term : terms) sum.add(Exact(term));
    if (!sum.result().ok) continue;
    ++trusted;
    for (int order = 0; order < 5; ++order) {
      std::shuffle(terms.begin(), terms.end(), random);
      float total = 0;
      for (float term : terms) total += term;
      ASSERT_EQ(static_cast<double>(total), sum.result().v);
    }
  }
  EXPECT_GT(trusted, 500);
}

TEST(RunningError, FollowsTheRulesOfFirstOrder) {
  RunningError x(3.0, 2.0), y(5.0, 1.0);
  EXPECT_DOUBLE_EQ((x + y).e, 2 + 1 + 8);
  EXPECT_DOUBLE_EQ((x - y).e, 2 + 1 + 2);
  EXPECT_DOUBLE_EQ((x * y).e, 3 * 1 + 5 * 2 + 15);
  EXPECT_DOUBLE_EQ((x / y).e, (2 + 0.6 * 1) / 5 + 0.6);
  EXPECT_DOUBLE_EQ(op_exp(RunningError(1.0, 2.0)).e, 4 * std::exp(1.0));
  EXPECT_DOUBLE_EQ(op_max(x, y).e, 2.0);
  EXPECT_DOUBLE_EQ(op_abs(-x).e, 2.0);
}

TEST(RunningError, ACommonCancellationKeepsTheErrorOfItsOperands) {
  RunningError x(1.0, 4.0), y(1.0, 4.0);
  EXPECT_EQ((x - y).v, 0.0);
  EXPECT_EQ((x - y).e, 8.0);
}

TEST(RunningError, SumOfLeavesGrowsWithTheRootOfTheirNumber) {
  SumAccumulator<RunningError> sum;
  for (int i = 0; i < 100; ++i) sum.add(RunningError(i % 2 == 0 ? 1.0 : -1.0));
  EXPECT_EQ(sum.result().v, 0.0);
  EXPECT_DOUBLE_EQ(sum.result().e, 10.0 * 100.0);
}

TEST(RunningError, AMaskOfMinusInfinityLeavesNoError) {
  RunningError masked = RunningError(-INFINITY) - RunningError(3.0, 5.0);
  RunningError weight = op_exp(masked);
  EXPECT_EQ(weight.v, 0.0);
  EXPECT_EQ(weight.e, 0.0);
}

/// The f32 evaluation of a chain of operations stays within a few units of the scale.
TEST(RunningError, BoundsTheErrorOfF32Evaluation) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (int trial = 0; trial < 500; ++trial) {
    SumAccumulator<RunningError> sum;
    SumAccumulator<float> low;
    for (int i = 0; i < 64; ++i) {
      float a = normal(random), b = normal(random);
      sum.add(op_exp(RunningError(a) * RunningError(b)));
      low.add(std::exp(a * b));
    }
    RunningError wide = op_tanh(op_log(sum.result()) - RunningError(4.0));
    float narrow = std::tanh(std::log(low.result()) - 4.0f);
    EXPECT_LE(std::fabs(wide.v - narrow), 4 * 0x1p-24 * wide.e);
  }
}

TEST(Position, IsTheFirstOfEqualTerms) {
  ArgMaxAccumulator<float> most;
  ArgMinAccumulator<float> least;
  for (float x : {2.0f, 5.0f, 1.0f, 5.0f, 1.0f}) {
    most.add(x);
    least.add(x);
  }
  EXPECT_EQ(most.result(), 1);
  EXPECT_EQ(least.result(), 2);
}

TEST(Tf32, HasElevenSignificantBits) {
  EXPECT_TRUE(fits_tf32(0));
  EXPECT_TRUE(fits_tf32(-2047 * 0x1p40));
  EXPECT_FALSE(fits_tf32(2049));
  EXPECT_FALSE(fits_tf32(1 + 0x1p-11));
}

TEST(Tf32, ProductsAreExactOfOperandsThatRoundingKeeps) {
  EXPECT_TRUE(tf32_product(Exact(2047.0), Exact(3.0)).ok);
  EXPECT_FALSE(tf32_product(Exact(2049.0), Exact(3.0)).ok);
  EXPECT_FALSE(tf32_product(Exact(3.0), Exact(2049.0)).ok);
}

TEST(Tf32, ASumAllowsForTheRoundedOperandsOfItsTerms) {
  ConvolutionAccumulator<RunningError> kept, rounded;
  SumAccumulator<RunningError> plain;
  for (int i = 0; i < 100; ++i) {
    const double x = i % 2 == 0 ? 3 : -3;
    plain.add(RunningError(x) * RunningError(5));
    kept.add(tf32_product(RunningError(x), RunningError(5)));
    rounded.add(tf32_product(RunningError(x, 1), RunningError(5, 1)));
  }
  EXPECT_EQ(kept.result().e, plain.result().e) << "TF32 has 3 and 5";
  // Independent errors: the root of the sum of squares.
  EXPECT_NEAR(rounded.result().e, 0x1p13 * 15 * 10, 0x1p15);
}

TEST(RunningErrorOfSaturation, IsThatOfTheSteepestPlaceWithinReach) {
  const double off = 0x1p24 * 100;  // an error of 100
  EXPECT_GE(op_tanh(RunningError(50, off)).e, off) << "may be 0, where the slope is 1";
  EXPECT_LT(op_tanh(RunningError(50, 1)).e, 8);
  EXPECT_GE(op_erf(RunningError(-50, off)).e, off);
}

}  // namespace
}  // namespace quern
