// SPDX-License-Identifier: Apache-2.0
#include "tensor/fill.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace quern {
namespace {

std::vector<float> drawn(const FillSpec& spec, uint64_t seed, size_t count) {
  std::vector<float> values(count);
  fill(std::as_writable_bytes(std::span(values)), DType::kF32, spec, seed);
  return values;
}

TEST(Fill, NormalHasTheMeanAndDeviationAskedFor) {
  const auto values = drawn({FillKind::kNormal, 3, 2}, 7, 200000);
  double sum = 0, squares = 0;
  for (float v : values) sum += v;
  const double mean = sum / values.size();
  for (float v : values) squares += (v - mean) * (v - mean);
  EXPECT_NEAR(mean, 3, 0.02);
  EXPECT_NEAR(std::sqrt(squares / values.size()), 2, 0.02);
}

TEST(Fill, UniformStaysInItsHalfOpenRange) {
  for (float v : drawn({FillKind::kUniform, -1, 4}, 1, 100000)) {
    EXPECT_GE(v, -1);
    EXPECT_LE(v, 4);
  }
}

TEST(Fill, IntegersReachBothEnds) {
  std::vector<int64_t> values(10000);
  fill(std::as_writable_bytes(std::span(values)), DType::kI64, {FillKind::kIntegers, -2, 3}, 5);
  std::vector<int> seen(6, 0);
  for (int64_t v : values) {
    ASSERT_GE(v, -2);
    ASSERT_LE(v, 3);
    ++seen[v + 2];
  }
  for (int count : seen) EXPECT_GT(count, 1000);
}

TEST(Fill, DoesNotDependOnHowManyElementsAreDrawn) {
  const auto small = drawn({FillKind::kNormal, 0, 1}, 42, 100);
  const auto large = drawn({FillKind::kNormal, 0, 1}, 42, 5'000'000);  // drawn by several threads
  for (size_t i = 0; i < small.size(); ++i) EXPECT_EQ(small[i], large[i]);
  EXPECT_EQ(large.back(),
            static_cast<float>(draw({FillKind::kNormal, 0, 1}, 42, large.size() - 1)));
}

TEST(Fill, OtherSeedsGiveOtherValues) {
  EXPECT_NE(drawn({FillKind::kNormal, 0, 1}, 1, 16), drawn({FillKind::kNormal, 0, 1}, 2, 16));
}

TEST(Fill, OddIntegersAreOddAndBounded) {
  for (float v : drawn({FillKind::kOddIntegers, 0, 1 << 20}, 3, 10000)) {
    EXPECT_EQ(std::fmod(std::abs(v), 2.0f), 1.0f);
    EXPECT_LT(std::abs(v), 1 << 20);
  }
}

TEST(Fill, CancellingPairsNearlyCancel) {
  const auto values = drawn({FillKind::kCancelling, 0, 1}, 3, 1000);
  for (size_t i = 0; i < values.size(); i += 2) {
    EXPECT_NEAR(values[i], -values[i + 1], 2e-3 * std::abs(values[i]) + 1e-7);
  }
}

}  // namespace
}  // namespace quern
