// SPDX-License-Identifier: Apache-2.0
#include "ir/scalar.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace quern {
namespace {

TEST(RunningError, BoundsTheErrorOfF32Arithmetic) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  double worst = 0;
  for (int trial = 0; trial < 5000; ++trial) {
    const float a = normal(random), b = normal(random), c = normal(random), d = normal(random);
    const float computed = std::exp(a * b - c) / (1 + d * d) + std::tanh(a - d);
    const RunningError A(a), B(b), C(c), D(d);
    const RunningError bound = q_exp(A * B - C) / (RunningError(1) + D * D) + q_tanh(A - D);
    ASSERT_GT(bound.e, 0);
    worst = std::max(worst, std::abs(computed - bound.v) / (0x1p-24 * bound.e));
  }
  EXPECT_LT(worst, 1);
  EXPECT_GT(worst, 0.05) << "the bound says nothing";
}

TEST(RunningError, SumsGrowWithTheRootOfTheirLength) {
  SumOf<RunningError> sum;
  for (int i = 0; i < 10000; ++i) sum.add(RunningError(1));
  EXPECT_DOUBLE_EQ(sum.result().e, 100 * 10000.0);
}

TEST(RunningError, SeesCancellation) {
  const RunningError big = RunningError(1e6) + RunningError(0.5);
  const RunningError difference = big - RunningError(1e6);
  EXPECT_NEAR(difference.v, 0.5, 1e-9);
  EXPECT_GE(difference.e, 1e6);
}

TEST(Exact, AcceptsSumsThatFitTwentyFourBits) {
  SumOf<Exact> sum;
  for (int i = 0; i < 1 << 10; ++i) sum.add(Exact(1 << 14));
  EXPECT_TRUE(sum.result().ok);  // 2^24 in whole multiples of 2^14
  SumOf<Exact> odd;
  for (int i = 0; i < 1 << 10; ++i) odd.add(Exact((1 << 14) + 1));
  EXPECT_FALSE(odd.result().ok);
}

TEST(Exact, CountsMagnitudesNotTheSum) {
  SumOf<Exact> sum;
  sum.add(Exact(1 << 23));
  sum.add(Exact(-(1 << 23)));
  sum.add(Exact(1 << 23));
  sum.add(Exact(1));
  EXPECT_FALSE(sum.result().ok) << "another order would pass 2^24 + 1";
}

TEST(Exact, DividesByPowersOfTwoOnly) {
  EXPECT_TRUE((Exact(3) / Exact(8)).ok);
  EXPECT_EQ((Exact(3) / Exact(8)).v, 0.375);
  EXPECT_FALSE((Exact(3) / Exact(6)).ok);
}

TEST(Exact, ProductsMustFit) {
  EXPECT_TRUE((Exact(4095) * Exact(4095)).ok);
  EXPECT_FALSE((Exact(5001) * Exact(5001)).ok);
  EXPECT_TRUE((Exact(1 << 20) * Exact(1 << 20)).ok);  // a power of two has one significant bit
}

TEST(Exact, ElementaryFunctionsAreNotExactButAtTheirFixedPoints) {
  EXPECT_FALSE(q_exp(Exact(1)).ok);
  EXPECT_TRUE(q_exp(Exact(0)).ok);
  EXPECT_TRUE(q_max(Exact(-3), Exact(0)).ok);
}

TEST(Exact, AgreesWithF32InEveryOrder) {
  std::mt19937 random(5);
  std::uniform_int_distribution<int> whole(-63, 63);
  std::vector<float> terms(2000);
  SumOf<Exact> exact;
  for (float& term : terms) {
    const float a = static_cast<float>(whole(random)), b = static_cast<float>(whole(random));
    term = a * b;
    exact.add(Exact(a) * Exact(b));
  }
  ASSERT_TRUE(exact.result().ok);
  for (int order = 0; order < 20; ++order) {
    std::shuffle(terms.begin(), terms.end(), random);
    float sum = 0;
    for (float term : terms) sum += term;
    EXPECT_EQ(sum, exact.result().v);
  }
}

TEST(ArgOf, IsCertainWhenNoRoundingCouldChangeIt) {
  ArgOf<RunningError, true> plain;
  plain.add(RunningError(1), 0);
  plain.add(RunningError(2), 1);
  plain.add(RunningError(2), 2);
  EXPECT_EQ(plain.result(), 1);
  EXPECT_TRUE(plain.certain()) << "unrounded elements compare exactly, ties go to the first";
  ArgOf<RunningError, true> rounded;
  rounded.add(RunningError(2, 100), 0);
  rounded.add(RunningError(2 + 1e-9, 100), 1);
  EXPECT_EQ(rounded.result(), 1);
  EXPECT_FALSE(rounded.certain());
}

}  // namespace
}  // namespace quern
