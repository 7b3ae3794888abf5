// SPDX-License-Identifier: Apache-2.0
#include "search/insights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace quern {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(InsightMemory, LearnsWhichInsightsPay) {
  InsightMemory memory({});
  memory.add("tile for the cache", 1);
  memory.add("unroll", 2);
  for (int i = 0; i < 10; ++i) {
    memory.reward({0}, 0.5);
    memory.reward({1}, 0);
  }
  EXPECT_GT(memory.at(0).value, 0);
  EXPECT_LT(memory.at(1).value, 0);
  EXPECT_THAT(memory.best(1), ElementsAre(0));
  EXPECT_EQ(memory.at(0).uses, 10);
}

TEST(InsightMemory, MovesAValueByTheRateTowardsTheStandardisedReward) {
  InsightMemory memory({64, 0.3, 1, 1});
  memory.add("a", 0);
  memory.reward({0}, 7);
  EXPECT_DOUBLE_EQ(memory.at(0).value, 0) << "one reward has no deviation";
  memory.reward({0}, 9);
  // Mean 8, deviation sqrt 2: the reward is 1 / sqrt 2.
  EXPECT_NEAR(memory.at(0).value, 0.3 / std::sqrt(2.0), 1e-12);
}

TEST(InsightMemory, WhatIsNotUsedFades) {
  InsightMemory memory({64, 1, 0.5, 1});
  memory.add("a", 0);
  memory.reward({}, 0);
  memory.reward({0}, 1);
  const double before = memory.at(0).value;
  memory.reward({}, 0);
  EXPECT_DOUBLE_EQ(memory.at(0).value, before / 2);
}

TEST(InsightMemory, ShowsARuleOnlyOnceItWasSaidOftenEnough) {
  InsightMemory memory({64, 0.3, 1, 3});
  memory.add("You cannot use a variable length array.", 1);
  memory.add("you cannot use  a variable length array.", 2);
  EXPECT_THAT(memory.best(5), IsEmpty());
  memory.add("You cannot use a variable length array.", 3);
  EXPECT_THAT(memory.best(5), ElementsAre(0));
  EXPECT_EQ(memory.at(0).seen, 3);
}

TEST(InsightMemory, ForgetsTheLeastValuableBeyondItsCapacity) {
  InsightMemory memory({2, 0.3, 1, 1});
  memory.add("a", 0);
  memory.add("b", 0);
  memory.reward({0}, 0);
  memory.reward({0}, 1);
  memory.add("c", 0);
  EXPECT_EQ(memory.size(), 2);
  EXPECT_FALSE(memory.has(1));
  memory.add("b", 0);
  EXPECT_EQ(memory.size(), 2) << "what was forgotten may come back";
}

TEST(ListItems, AreTakenFromListsElseFromLines) {
  EXPECT_THAT(list_items("Here:\n- one\n 2. two\n* three\n"), ElementsAre("one", "two", "three"));
  EXPECT_THAT(list_items("one\n\n two \n"), ElementsAre("one", "two"));
  EXPECT_THAT(list_items(""), IsEmpty());
}

}  // namespace
}  // namespace quern
