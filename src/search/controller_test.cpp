// SPDX-License-Identifier: Apache-2.0
#include "search/controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

SearchNode timed(double ns) {
  SearchNode node;
  node.state = ns > 0 ? NodeState::kCorrect : NodeState::kWrong;
  node.time_ns = ns;
  node.speedup = ns > 0 ? 1000 / ns : 0;
  node.roofline = node.speedup / 10;
  return node;
}

/// Attempts (from 1) at which a rule acts on a course of times; 0 is a failure.
std::vector<int> acts(const std::string& when, const std::vector<double>& times) {
  Controller controller({*parse_rule(when, "stop")});
  std::vector<int> at;
  double best = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    const bool is_best = times[i] > 0 && (best == 0 || times[i] < best);
    if (is_best) best = times[i];
    if (!controller.advance(timed(times[i]), is_best).empty())
      at.push_back(static_cast<int>(i) + 1);
  }
  return at;
}

TEST(Controller, CountsAttemptsWithoutGainAnewAfterItActed) {
  EXPECT_THAT(acts("no-gain 2", {500, 600, 0, 600, 600, 400, 500, 500}), ElementsAre(3, 5, 8));
  EXPECT_THAT(acts("no-gain 1", {500, 600, 600}), ElementsAre(2, 3));
}

TEST(Controller, CountsFailuresInARow) {
  EXPECT_THAT(acts("failures 2", {0, 500, 0, 0, 0, 0}), ElementsAre(4, 6));
}

TEST(Controller, ActsOnceWhenAGoalIsReached) {
  EXPECT_THAT(acts("speedup 2", {600, 500, 400, 600}), ElementsAre(2));
  EXPECT_THAT(acts("roofline 0.95", {500, 100, 90}), ElementsAre(2)) << "KernelAgent's bound";
  EXPECT_THAT(acts("attempts 3", {500, 500, 500, 500}), ElementsAre(3));
  EXPECT_THAT(acts("attempts 3", {500}), IsEmpty());
  EXPECT_THAT(acts("passed 1", {0, 0, 500, 400}), ElementsAre(3));
}

TEST(Controller, ActsEachTimeAKernelIsFarBehindTheBest) {
  EXPECT_THAT(acts("slower 1.5", {100, 160, 170, 120, 160, 0}), ElementsAre(2, 3, 5));
}

TEST(Controller, HasConvergedWhenAWindowSavedLessThanAThousandth) {
  EXPECT_THAT(acts("converged 2", {100, 99, 98, 97.99, 97.98}), ElementsAre(5));
}

TEST(Rules, AreReadWithTheirNumbersAndNames) {
  const RecipeRule rule = *parse_rule("no-gain 5", "switch explore widely");
  EXPECT_EQ(rule.number, 5);
  EXPECT_EQ(rule.action, "switch");
  EXPECT_EQ(rule.argument, "explore widely");
}

TEST(Rules, BadOnesAreErrorsWithASuggestion) {
  EXPECT_THAT(parse_rule("no-gian 5", "stop").error().hint, HasSubstr("no-gain"));
  EXPECT_THAT(parse_rule("no-gain", "stop").error().message, HasSubstr("one number"));
  EXPECT_THAT(parse_rule("no-gain x", "stop").error().message, HasSubstr("one number"));
  EXPECT_THAT(parse_rule("no-gain 5", "halt").error().hint, HasSubstr("stop"));
  EXPECT_THAT(parse_rule("no-gain 5", "stop now").error().message, HasSubstr("takes no name"));
  EXPECT_THAT(parse_rule("no-gain 5", "ask").error().message, HasSubstr("needs a name"));
}

}  // namespace
}  // namespace quern
