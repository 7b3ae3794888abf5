// SPDX-License-Identifier: Apache-2.0
#include "llm/retry.h"

#include <gtest/gtest.h>

namespace quern::llm {
namespace {

TEST(Retry, TriesAgainExactlyAfterThePassingStatuses) {
  for (int status = 300; status < 600; ++status) {
    bool passing = status == 408 || status == 409 || status == 429 || status == 500 ||
                   status == 502 || status == 503 || status == 504 || status == 529;
    EXPECT_EQ(is_retryable({kind_of_status(status), "", "", status}), passing) << status;
  }
}

TEST(Retry, TriesAgainAfterTroubleOfTheWorldOnly) {
  for (FailureKind kind : {FailureKind::kConnection, FailureKind::kCut, FailureKind::kTimeout,
                           FailureKind::kMalformed, FailureKind::kServer, FailureKind::kOverloaded})
    EXPECT_TRUE(is_retryable({kind})) << failure_name(kind);
  for (FailureKind kind :
       {FailureKind::kBudget, FailureKind::kSetup, FailureKind::kPrice, FailureKind::kRejected,
        FailureKind::kCancelled, FailureKind::kInvalidReply, FailureKind::kNotRecorded})
    EXPECT_FALSE(is_retryable({kind})) << failure_name(kind);
}

TEST(Retry, WaitsLongerEachTimeUpToTheLimit) {
  RetryPolicy policy{.attempts = 20, .first_delay_s = 1, .longest_delay_s = 30};
  double expected = 1;
  for (int attempt = 1; attempt < 20; ++attempt, expected = std::min(30.0, expected * 2)) {
    double delay = retry_delay_s(policy, attempt, "hash", std::nullopt).value_or(-1);
    EXPECT_GE(delay, expected / 2);
    EXPECT_LT(delay, expected);
  }
}

TEST(Retry, GivesUpAfterTheLastAttempt) {
  RetryPolicy policy{.attempts = 3};
  EXPECT_TRUE(retry_delay_s(policy, 2, "hash", std::nullopt));
  EXPECT_FALSE(retry_delay_s(policy, 3, "hash", std::nullopt));
}

TEST(Retry, SpreadsRequestsAndRepeatsItselfForASeed) {
  RetryPolicy policy, other{.seed = 1};
  double a = *retry_delay_s(policy, 1, "a", std::nullopt);
  EXPECT_EQ(a, *retry_delay_s(policy, 1, "a", std::nullopt));
  EXPECT_NE(a, *retry_delay_s(policy, 1, "b", std::nullopt));
  EXPECT_NE(a, *retry_delay_s(other, 1, "a", std::nullopt));
}

TEST(Retry, WaitsAtLeastAsLongAsTheServerAsks) {
  RetryPolicy policy;
  EXPECT_GE(*retry_delay_s(policy, 1, "a", 17.0), 17.0);
  EXPECT_LT(*retry_delay_s(policy, 1, "a", 17.0), 18.0);
  EXPECT_FALSE(retry_delay_s(policy, 1, "a", 601.0));
}

TEST(Retry, ReadsSecondsAndDates) {
  constexpr int64_t kNow = 784111700;  // 1994-11-06 08:48:20
  EXPECT_EQ(parse_retry_after("120", kNow), 120);
  EXPECT_EQ(parse_retry_after(" 0.5 ", kNow), 0.5);
  EXPECT_EQ(parse_retry_after("-3", kNow), 0);
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", kNow), 77);
  EXPECT_EQ(parse_retry_after("Sat, 05 Nov 1994 08:49:37 GMT", kNow), 0);
  EXPECT_EQ(parse_retry_after("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800 - 60), 60);
}

TEST(Retry, IgnoresWhatIsNeitherSecondsNorADate) {
  for (const char* text : {"", "soon", "12 minutes", "nan", "inf", "1e999",
                           "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT",
                           "Sun, 06 Now 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET"})
    EXPECT_FALSE(parse_retry_after(text, 0)) << text;
}

}  // namespace
}  // namespace quern::llm
