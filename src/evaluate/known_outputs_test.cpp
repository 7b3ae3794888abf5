// SPDX-License-Identifier: Apache-2.0
#include "evaluate/known_outputs.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

TEST(KnownOutputs, AreKnownOnlyWhereTheyWereFoundRight) {
  const Workload one, other;
  KnownOutputs known;
  CompareCounts counts;
  counts.max_error = 0.5;
  EXPECT_FALSE(known.knows({&one, 0, 0}));
  known.add({&one, 0, 0}, 77, counts);
  EXPECT_TRUE(known.knows({&one, 0, 0}));
  ASSERT_TRUE(known.find({&one, 0, 0}, 77));
  EXPECT_EQ(known.find({&one, 0, 0}, 77)->max_error, 0.5);
  EXPECT_FALSE(known.find({&one, 0, 0}, 78));
  for (const KnownOutputs::Place& place :
       {KnownOutputs::Place{&other, 0, 0}, {&one, 1, 0}, {&one, 0, 1}}) {
    EXPECT_FALSE(known.knows(place));
    EXPECT_FALSE(known.find(place, 77));
  }
}

TEST(KnownOutputs, ForgetWrongOnes) {
  const Workload workload;
  KnownOutputs known;
  CompareCounts counts;
  counts.wrong = 1;
  known.add({&workload, 0, 0}, 77, counts);
  EXPECT_FALSE(known.find({&workload, 0, 0}, 77));
}

}  // namespace
}  // namespace quern
