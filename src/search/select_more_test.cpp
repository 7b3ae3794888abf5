// SPDX-License-Identifier: Apache-2.0
// Closed forms of the selectors over methods, hypotheses, beams and islands.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "search/graph_testing.h"
#include "search/score.h"
#include "search/select_advised.h"
#include "search/select_bandit.h"
#include "search/select_frontier.h"
#include "search/select_methods.h"
#include "search/select_population.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Strategy strategy(const char* name, std::vector<std::string> after = {}) {
  Strategy made;
  made.name = name;
  made.after = std::move(after);
  return made;
}

TEST(Beam, KeepsTheBestOfEachBranchThenTheBestOfThese) {
  SearchGraph graph = with_root();
  const auto beam = selector_named("beam", {{"width", 2}, {"times", 2}});
  Random random(1);
  const auto next = [&] { return beam->pick(graph, random).parents[0]; };
  EXPECT_EQ(next(), 0);
  graph.add(correct_node(0, 2));  // 1
  EXPECT_EQ(next(), 0);
  graph.add(correct_node(0, 3));  // 2
  // The root's branch keeps 2; the next best, 1, fills the beam up.
  EXPECT_THAT((std::vector{next(), next(), next(), next()}), ElementsAre(2, 2, 1, 1));
  graph.add(correct_node(2, 5));    // 3
  graph.add(correct_node(2, 4));    // 4: better than 5, but of the same branch as 3
  graph.add(correct_node(1, 2.5));  // 5
  EXPECT_THAT((std::vector{next(), next(), next(), next()}), ElementsAre(3, 3, 5, 5));
}

TEST(TechniqueValue, RewardsRightPredictionsAndPunishesSlowDowns) {
  TechniqueValue value{10, 0.5, 0, 0};
  EXPECT_DOUBLE_EQ(value.learn(9), 9.2) << "within 20 % of what was predicted";
  EXPECT_DOUBLE_EQ(value.composite, 9.2);
  EXPECT_DOUBLE_EQ(value.learn(-4), -4.5);
  EXPECT_DOUBLE_EQ(value.composite, (9.2 - 4.5) / 2);
  EXPECT_EQ(value.uses, 2);
}

TEST(TechniqueSoftmax, RollsOutFromTheBestAndGivesUpBelowItsLimit) {
  SearchGraph graph = with_root();
  const auto selector =
      selector_named("technique-softmax", {{"steps", 3}, {"abort", -500}}, {strategy("a")});
  Random random(1);
  const auto step = [&](double gain, double score) {
    const Pick pick = selector->pick(graph, random);
    SearchNode child = correct_node(pick.parents[0], score);
    child.gain = gain;
    selector->told(graph, graph.add(child), pick);
    return pick.parents[0];
  };
  EXPECT_EQ(step(10, 1.5), 0);
  EXPECT_EQ(step(-10, 1.2), 1);
  EXPECT_EQ(step(-20, 1.1), 2) << "on from the last, though it was slower";
  EXPECT_EQ(step(-600, 0.5), 1) << "three steps: anew from the best";
  EXPECT_EQ(step(0, 1), 1) << "below -500 %: anew from the best";
}

TEST(TechniqueSoftmax, DrawsInProportionToItsSoftmax) {
  SearchGraph graph = with_root();
  const auto selector = selector_named("technique-softmax", {{"steps", 1}, {"temperature", 0.5}},
                                       {strategy("a"), strategy("b")});
  Random random(5);
  Pick pick;
  do pick = selector->pick(graph, random);
  while (pick.strategy != "a");
  SearchNode child = correct_node(0, 0.9);
  child.gain = 2;
  selector->told(graph, graph.add(child), pick);
  // a: predicted 2, confidence 0.5, one use, composite 2: 1 − 0.1 + 0.2 = 1.1; b: 0.
  int a = 0;
  for (int i = 0; i < 20000; ++i) a += selector->pick(graph, random).strategy == "a";
  const double e = std::exp(1.1 / 0.5);
  EXPECT_NEAR(a / 20000.0, e / (e + 1), 0.01);
}

TEST(MethodGraph, FollowsItsBound) {
  MethodGraph graph({strategy("fuse", {"start"}), strategy("tile", {"start", "fuse"}),
                     strategy("unroll", {"tile", "unroll"})});
  EXPECT_THAT(graph.next(0), ElementsAre(1, 2));
  EXPECT_THAT(graph.next(1), ElementsAre(2));
  EXPECT_THAT(graph.next(2), ElementsAre(3));
  EXPECT_TRUE(std::isinf(graph.bound(0, 1))) << "what was not tried comes first";
  graph.reward({0, 1}, 2);
  graph.reward({0, 2}, 1);
  graph.reward({0, 2, 3}, 3);
  EXPECT_DOUBLE_EQ(graph.value(2), 2);
  EXPECT_DOUBLE_EQ(graph.bound(0, 2), 2 + std::sqrt(2 * std::log(3.0) / 2));
  EXPECT_DOUBLE_EQ(graph.bound(0, 1), 2 + std::sqrt(2 * std::log(3.0) / 1));
}

TEST(DecisionTable, AllowsMethodsByHeadroom) {
  EXPECT_STREQ(headroom_tier({}), "high");
  EXPECT_STREQ(headroom_tier({{"memory", 0.59}, {"arithmetic", 0.1}}), "high");
  EXPECT_STREQ(headroom_tier({{"memory", 0.6}}), "middle");
  EXPECT_STREQ(headroom_tier({{"memory", 0.81}}), "low");
  Strategy any = strategy("any"), high = strategy("high");
  high.tiers = {"high"};
  EXPECT_THAT(allowed_methods({any, high}, "low"), ElementsAre(true, false));
  EXPECT_THAT(allowed_methods({high}, "low"), ElementsAre(true)) << "never nothing";
}

TEST(TreeEdits, AddChangeAndDeleteButNeverMoreThanThreeNewOnes) {
  HypothesisTree tree;
  EXPECT_EQ(
      apply_tree_edits(tree,
                       "Sure:\n[{\"parent\": 0, \"title\": \"a\", \"score\": 2, "
                       "\"difficulty\": 9}, {\"parent\": 1, \"title\": \"b\"}, {\"parent\": "
                       "0, \"title\": \"c\"}, {\"parent\": 0, \"title\": \"d\"}, {\"parent\": "
                       "77, \"title\": \"e\"}, 3]"),
      3);
  ASSERT_EQ(tree.size(), 4);
  EXPECT_EQ(tree.node(1).score, 1) << "clamped";
  EXPECT_EQ(tree.node(1).difficulty, 5);
  EXPECT_EQ(tree.node(2).parent, 1);
  EXPECT_EQ(apply_tree_edits(tree,
                             "[{\"id\": 3, \"score\": 0.9, \"rating\": 8}, {\"op\": "
                             "\"delete\", \"id\": 2}, {\"op\": \"delete\", \"id\": 0}]"),
            2);
  EXPECT_EQ(tree.node(3).score, 0.9);
  EXPECT_EQ(tree.node(2).state, HypothesisState::kTooHard);
  EXPECT_EQ(tree.node(0).state, HypothesisState::kSolved) << "the root stays";
}

TEST(TreeEdits, NonsenseChangesNothing) {
  HypothesisTree tree;
  for (const char* reply : {"", "no list", "[", "]", "][", "[{\"title\": 3, \"parent\": 0}]",
                            "[[[[", "{\"parent\": 0}", "[{\"parent\": \"0\", \"title\": \"a\"}]"}) {
    EXPECT_EQ(apply_tree_edits(tree, reply), 0) << reply;
  }
  EXPECT_EQ(tree.size(), 1);
}

TEST(Frontier, ClosesAnActionThatNeverBeatsItsBase) {
  SearchGraph graph = with_root();
  ActionProgress progress;
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(progress.took(graph, graph.add(correct_node(0, 0.5 + 0.1 * i)), 0)) << i;
  }
  EXPECT_TRUE(progress.took(graph, graph.add(correct_node(0, 0.95)), 0))
      << "each was better than the one before, none better than the base";
}

TEST(Experiments, TheMostInnovativeThenTheHighestMaximumThenTheHighestMinimum) {
  const auto chosen =
      chosen_experiments({{"a", 5, 90, 99}, {"b", 9, 10, 1}, {"c", 1, 80, 2}, {"d", 2, 3, 3}});
  ASSERT_EQ(chosen.size(), 3u);
  EXPECT_EQ(chosen[0].description + chosen[1].description + chosen[2].description, "acb");
  EXPECT_EQ(chosen_experiments({{"a", 1, 1, 1}}).size(), 1u);
}

TEST(NamedNumber, IsFoundWhateverStandsBetween) {
  EXPECT_EQ(named_number("I choose\n**Base:** 12", "base"), 12);
  EXPECT_EQ(named_number("base = 3, reference: 7", "reference"), 7);
  EXPECT_EQ(named_number("the base is good", "base"), -1);
  EXPECT_EQ(named_number("", "base"), -1);
}

TEST(Advised, FallsBackOnTheBestAndTheOneLeastLikeIt) {
  SearchGraph graph = with_root();
  for (auto [score, sketch] : {std::pair{3.0, 1u}, {2.0, 1u}, {1.5, 9u}}) {
    SearchNode node = correct_node(0, score);
    node.sketch = {sketch, sketch};
    graph.add(node);
  }
  const auto selector = selector_named("advised", {});
  Random random(1);
  EXPECT_THAT(selector->question(graph), HasSubstr("1: "));
  selector->answer(graph, "I do not know.");
  EXPECT_THAT(selector->pick(graph, random).parents, ElementsAre(1, 3));
  selector->answer(graph, "base: 2, reference: 99");
  EXPECT_THAT(selector->pick(graph, random).parents[0], 2);
}

TEST(Migration, GoesAroundTheRingOnceAndSkipsDuplicates) {
  SearchGraph graph = with_root();
  const auto add = [&](int island, double score, uint32_t sketch) {
    SearchNode node = correct_node(0, score);
    node.island = island;
    node.sketch = {sketch};
    return graph.add(node);
  };
  const int best = add(0, 9, 1), twin = add(1, 3, 7), other = add(2, 8, 7);
  Migration migration;
  migration.migrate(graph, 3, 0.1);
  EXPECT_TRUE(migration.visits(best, 1)) << "one at least";
  EXPECT_FALSE(migration.visits(twin, 2)) << "island 2 has the same source";
  EXPECT_TRUE(migration.visits(other, 0));
  migration.migrate(graph, 3, 0.1);
  EXPECT_FALSE(migration.visits(best, 2)) << "a guest is not passed on";
}

TEST(Acceptance, StatisticalAsksForIntervalsThatDoNotMeet) {
  const AcceptRule& rule = **find_accept_rule("statistical");
  SearchNode parent = correct_node(-1, 1), child = correct_node(0, 1.1);
  parent.low_ns = 95, parent.high_ns = 105;
  child.low_ns = 80, child.high_ns = 96;
  EXPECT_FALSE(rule.accept(child, parent, parent, 1));
  child.high_ns = 94;
  EXPECT_TRUE(rule.accept(child, parent, parent, 1));
  child.state = NodeState::kWrong;
  EXPECT_FALSE(rule.accept(child, parent, parent, 1));
}

}  // namespace
}  // namespace quern
