// SPDX-License-Identifier: Apache-2.0
#include "verify/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace quern {
namespace {

ExpectedOutput expected(std::vector<double> value, double scale = 1) {
  ExpectedOutput out;
  out.name = "y";
  out.shape = {static_cast<int64_t>(value.size())};
  out.scale.assign(value.size(), scale);
  out.value = std::move(value);
  return out;
}

CompareReport check(std::vector<float> got, const ExpectedOutput& want, bool bitwise = false) {
  ComparePolicy policy;
  policy.bitwise = bitwise;
  return compare(std::as_bytes(std::span(got)), want, policy);
}

TEST(Compare, AcceptsErrorsInsideTheRoundingBoundOnly) {
  const float nearby = 1 + 3 * 0x1p-24f;  // rounds to 2 or 4 units: inside factor 4 at scale 1
  EXPECT_TRUE(check({nearby}, expected({1})).ok);
  EXPECT_FALSE(check({1 + 8 * 0x1p-23f}, expected({1})).ok);
  EXPECT_TRUE(check({1 + 8 * 0x1p-23f}, expected({1}, 10)).ok);
}

TEST(Compare, ReportsTheWorstElementByPosition) {
  ExpectedOutput want = expected({1, 2, 3, 4, 5, 6});
  want.shape = {2, 3};
  const CompareReport report = check({1, 2, 3, 4, 7, 6}, want);
  EXPECT_EQ(report.wrong, 1);
  EXPECT_NE(report.worst.find("y[1, 1]: got 7, expected 5"), std::string::npos) << report.worst;
}

TEST(Compare, NamesUnwrittenElements) {
  std::vector<float> got = {1, 0};
  std::memset(&got[1], static_cast<int>(kPoison), sizeof(float));
  const CompareReport report = check(got, expected({1, 2}));
  EXPECT_FALSE(report.ok);
  EXPECT_EQ(report.unwritten, 1);
  EXPECT_EQ(report.worst, "y[1] was never written");
}

TEST(Compare, NonFiniteValuesMustAgree) {
  const double inf = INFINITY;
  EXPECT_TRUE(check({INFINITY, NAN}, expected({inf, NAN})).ok);
  EXPECT_FALSE(check({1}, expected({inf})).ok);
  EXPECT_FALSE(check({-INFINITY}, expected({inf})).ok);
  EXPECT_FALSE(check({NAN}, expected({1})).ok);
}

TEST(Compare, SubnormalResultsMayBeFlushedToZero) {
  EXPECT_TRUE(check({0}, expected({1e-40}, 1e-40)).ok);
  EXPECT_FALSE(check({0}, expected({1e-35}, 1e-35)).ok);
}

TEST(Compare, BitwiseRefusesTheSmallestDifference) {
  EXPECT_TRUE(check({3}, expected({3}), true).ok);
  EXPECT_FALSE(check({std::nextafter(3.0f, 4.0f)}, expected({3}, 100), true).ok);
}

TEST(Compare, LeavesOutElementsThatRoundingAloneDecides) {
  ExpectedOutput want = expected({5});
  want.type = DType::kI64;
  want.scale = {INFINITY};
  std::vector<int64_t> got = {7};
  EXPECT_TRUE(compare(std::as_bytes(std::span(got)), want, {}).ok);
  want.scale = {0};
  EXPECT_FALSE(compare(std::as_bytes(std::span(got)), want, {}).ok);
}

}  // namespace
}  // namespace quern
