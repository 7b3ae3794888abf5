// SPDX-License-Identifier: Apache-2.0
// Each selector against the closed form of its source, on small graphs made by hand.
#include "search/select.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "search/graph_testing.h"
#include "search/hypothesis.h"
#include "search/score.h"
#include "search/select_bandit.h"
#include "search/select_population.h"
#include "search/select_tree.h"

namespace quern {
namespace {

using testing::DoubleNear;
using testing::Each;
using testing::ElementsAre;

SearchNode failed_node(int parent) {
  SearchNode node;
  node.parents = {parent};
  node.state = NodeState::kWrong;
  return node;
}
/// How often each node is the first parent in so many picks. [nodes]
std::vector<double> frequencies(Selector& selector, const SearchGraph& graph, int picks) {
  std::vector<double> counts(static_cast<size_t>(graph.size()));
  Random random(7);
  for (int i = 0; i < picks; ++i) {
    counts[static_cast<size_t>(selector.pick(graph, random).parents.front())] += 1.0 / picks;
  }
  return counts;
}

TEST(Selectors, AllMakeAValidFirstPickFromTheRootAlone) {
  const SearchGraph graph = with_root();
  for (const SelectorInfo& row : selectors()) {
    Random random(1);
    const Pick pick = selector_named(row.name, {}, {{"tile", "l2"}})->pick(graph, random);
    EXPECT_THAT(pick.parents, ElementsAre(0)) << row.name;
  }
}

TEST(Selectors, NeverPickWhatIsPending) {
  SearchGraph graph = with_root();
  graph.add(correct_node(0, 2));
  SearchNode pending;
  pending.parents = {1};
  graph.add(pending);
  for (const SelectorInfo& row : selectors()) {
    const auto selector = selector_named(row.name, {}, {{"tile", "l2"}});
    EXPECT_EQ(frequencies(*selector, graph, 50)[2], 0) << row.name;
  }
}

TEST(SearchGraph, RanksAsIfSortedAnewWhateverWasChanged) {
  SearchGraph graph = with_root();
  Random random(4);
  for (int step = 0; step < 300; ++step) {
    const int id = static_cast<int>(random.below(static_cast<size_t>(graph.size())));
    if (random.chance(0.5)) graph.add(correct_node(id, static_cast<double>(random.below(9))));
    if (random.chance(0.5)) graph.change(id).score = static_cast<double>(random.below(9));
    if (random.chance(0.2)) graph.change(id).state = NodeState::kWrong;
    if (random.chance(0.3)) continue;
    std::vector<int> sorted;
    for (int i = 0; i < graph.size(); ++i) {
      if (graph.correct(i)) sorted.push_back(i);
    }
    std::ranges::stable_sort(
        sorted, [&](int a, int b) { return graph.node(a).score > graph.node(b).score; });
    if (sorted.empty()) sorted = {0};
    ASSERT_EQ(graph.ranked(true), sorted) << "step " << step;
  }
}

TEST(Selectors, UnknownNamesAndParametersGetASuggestion) {
  const auto selector = make_selector("epsilontree", {});
  ASSERT_FALSE(selector.has_value());
  EXPECT_THAT(selector.error().hint, testing::HasSubstr("epsilon-tree"));
  const auto parameter = make_selector("epsilon-tree", {{{"epsilonn", 1}}, {}, {}});
  ASSERT_FALSE(parameter.has_value());
  EXPECT_THAT(parameter.error().hint, testing::HasSubstr("epsilon"));
  EXPECT_FALSE(make_selector("script", {}).has_value());
}

TEST(Top, TakesEachOfTheBestInTurn) {
  SearchGraph graph = with_root();
  for (double score : {2.0, 5.0, 3.0, 4.0}) graph.add(correct_node(0, score));
  const auto top = selector_named("top", {{"best", 2}, {"times", 2}});
  Random random(1);
  std::vector<int> picked;
  for (int i = 0; i < 5; ++i) picked.push_back(top->pick(graph, random).parents.front());
  EXPECT_THAT(picked, ElementsAre(2, 2, 4, 4, 2));
}

TEST(Last, GoesOnFromWhatWasAccepted) {
  SearchGraph graph = with_root();
  graph.accept(graph.add(correct_node(0, 2)));
  graph.add(correct_node(1, 1));
  Random random(1);
  EXPECT_THAT(selector_named("last")->pick(graph, random).parents, ElementsAre(1));
}

TEST(Chains, TakesEachChainInTurn) {
  SearchGraph graph = with_root();
  const auto chains = selector_named("chains", {{"chains", 2}});
  Random random(1);
  for (int parent : {0, 0, 1, 2, 3}) {
    const Pick pick = chains->pick(graph, random);
    EXPECT_THAT(pick.parents, ElementsAre(parent));
    SearchNode child = failed_node(parent);
    child.island = pick.island;
    graph.add(child);
  }
}

TEST(Script, AppliesItsStrategiesInOrderToTheLastCorrectNode) {
  SearchGraph graph = with_root();
  graph.add(correct_node(0, 2));
  graph.accept(graph.add(failed_node(1)));
  const auto script = selector_named("script", {}, {{"tile", ""}, {"split", ""}});
  Random random(1);
  const Pick first = script->pick(graph, random), second = script->pick(graph, random);
  EXPECT_THAT(first.parents, ElementsAre(1));
  EXPECT_EQ(first.strategy, "tile");
  EXPECT_EQ(second.strategy, "split");
}

TEST(EpsilonTree, ThrottlesTheRootAndPrunesBranchesThatOnlyFail) {
  SearchGraph graph = with_root();
  graph.add(correct_node(0, 2));  // 1: more than three children, all failed
  for (int i = 0; i < 4; ++i) graph.add(failed_node(1));
  graph.add(correct_node(0, 1.5));  // 6
  const std::vector<bool> open = expandable(graph, 2, 3);
  EXPECT_THAT(open, ElementsAre(false, false, false, false, false, false, true));
  EXPECT_TRUE(expandable(graph, 3, 3)[0]) << "below its limit the root is open";
  EXPECT_TRUE(expandable(graph, 2, 4)[1]) << "four failures are not more than four";
}

TEST(EpsilonTree, ExploresWithProbabilityEpsilonOverLeaves) {
  SearchGraph graph = with_root();
  graph.add(correct_node(0, 2));
  graph.add(correct_node(1, 3));
  graph.add(correct_node(1, 1.5));
  graph.add(correct_node(1, 1.2));
  const auto selector = selector_named("epsilon-tree", {{"epsilon", 0.3}});
  const std::vector<double> share = frequencies(*selector, graph, 20000);
  EXPECT_THAT(share[2], DoubleNear(0.7 + 0.1, 0.01));  // exploit, and a third of exploring
  EXPECT_THAT(share[3], DoubleNear(0.1, 0.01));
  EXPECT_THAT(share[4], DoubleNear(0.1, 0.01));
}

TEST(Uct, FollowsTheHighestUpperBound) {
  SearchGraph graph = with_root();
  graph.add(correct_node(0, 1.0));  // 1: three visits, mean 1.0
  graph.add(correct_node(0, 1.1));  // 2: one visit
  graph.add(correct_node(1, 1.0));
  graph.add(correct_node(1, 1.0));
  // Five visits of the root. With c: 1.0 + c sqrt(ln 5 / 3) against 1.1 + c sqrt(ln 5).
  EXPECT_GT(upper_bound(1.1, 1.414, 5, 1), upper_bound(1.0, 1.414, 5, 3));
  Random random(1);
  EXPECT_THAT(selector_named("uct", {{"width", 2}})->pick(graph, random).parents, ElementsAre(2));
  EXPECT_THAT(selector_named("uct", {{"width", 3}})->pick(graph, random).parents, ElementsAre(0));
}

TEST(ExpandArm, ExpandsWhereTheVirtualArmBeatsEveryChild) {
  // c = 0.3: best child + 0.3 sqrt(ln N / children²) against value + 0.3 sqrt(ln N / visits).
  EXPECT_DOUBLE_EQ(expand_bound(0.5, 0.3, 7, 2), 0.5 + 0.3 * std::sqrt(std::log(7.0) / 4));
  SearchGraph graph = with_root();
  graph.add(correct_node(0, 0.5));  // 1
  Random random(1);
  // One child with one visit: both bounds are 0.5 + 0.3 sqrt(ln 2): a tie goes down.
  EXPECT_THAT(selector_named("expand-arm", {{"large_share", 0}})->pick(graph, random).parents,
              ElementsAre(1));
  graph.add(correct_node(1, 0.5));
  graph.add(correct_node(1, 0.5));
  // The child has three visits now, the virtual arm one child: expand the root, by a large step.
  const Pick pick = selector_named("expand-arm", {{"large_share", 0}})->pick(graph, random);
  EXPECT_THAT(pick.parents, ElementsAre(0));
  EXPECT_TRUE(pick.large) << "the root is always left by a large step";
}

TEST(ExpandArm, ALargeStepStartsASiblingAfterTwoSmallOnes) {
  SearchGraph graph = with_root();
  graph.add(correct_node(0, 9));
  graph.change(1).large = true;
  graph.add(correct_node(1, 0.1));
  graph.add(correct_node(1, 0.1));
  const auto selector =
      selector_named("expand-arm", {{"large_share", 0}, {"c", 0}, {"alpha", 1}, {"expand_c", 100}});
  Random random(1);
  const Pick pick = selector->pick(graph, random);
  EXPECT_TRUE(pick.large);
  EXPECT_THAT(pick.parents, ElementsAre(0));
}

TEST(ClusterBandit, TakesTheArmOfTheClosedForm) {
  BanditArms arms(2, 0.5, 1);
  const std::vector<bool> all = {true, true};
  EXPECT_EQ(arms.best(2, 1, all), 0u) << "the first of equals";
  arms.reward(0, 0.1);  // mean 0.3 of two pulls
  EXPECT_DOUBLE_EQ(arms.mean(0), 0.3);
  EXPECT_DOUBLE_EQ(arms.bound(0, 2, 3), 0.3 + 2 * std::sqrt(std::log(3.0) / 2));
  EXPECT_EQ(arms.best(2, 3, all), 1u);
  EXPECT_EQ(arms.best(2, 3, {true, false}), 0u);
}

TEST(ClusterBandit, MasksStrategiesWhoseResourceIsExhausted) {
  const std::vector<Strategy> strategies = {
      {"tile", "l2"}, {"vectorise", "dram"}, {"fuse", "dram"}};
  const std::map<std::string, double> limits = {{"sm", 0.80}, {"dram", 0.70}, {"l2", 0.75}};
  EXPECT_THAT(strategy_mask(strategies, {{"dram", 0.9}, {"l2", 0.2}}, limits),
              ElementsAre(true, false, false));
  EXPECT_THAT(strategy_mask(strategies, {{"dram", 0.71}, {"l2", 0.99}}, limits),
              ElementsAre(false, true, false))
      << "one stays: the least over its limit";
  EXPECT_THAT(strategy_mask(strategies, {}, limits), Each(true));
}

TEST(ClusterBandit, LearnsWhichStrategyPays) {
  SearchGraph graph = with_root();
  const auto selector = selector_named("cluster-bandit", {{"clusters", 1}, {"c", 0.2}},
                                       {{"good", ""}, {"bad", ""}, {"useless", ""}});
  Random random(3);
  int good = 0;
  for (int i = 0; i < 60; ++i) {
    const Pick pick = selector->pick(graph, random);
    SearchNode child = correct_node(pick.parents.front(), 1);
    child.gain = pick.strategy == "good" ? 0.4 : 0;
    selector->told(graph, graph.add(child), pick);
    good += pick.strategy == "good";
  }
  EXPECT_GT(good, 40);
}

TEST(KMeans, SeparatesTwoHeapsWhateverTheirScale) {
  Random random(5);
  const auto cluster =
      k_means({{0, 1000}, {0.1, 1100}, {9, 5000}, {9.2, 5100}, {0.05, 1050}}, 2, random);
  EXPECT_EQ(cluster[0], cluster[1]);
  EXPECT_EQ(cluster[0], cluster[4]);
  EXPECT_EQ(cluster[2], cluster[3]);
  EXPECT_NE(cluster[0], cluster[2]);
}

TEST(RankUcb, AgreesWithItsFormulaAndVisitsEveryone) {
  EXPECT_DOUBLE_EQ(rank_bound(1, 5, 0, 0, 1.414), 1);
  EXPECT_DOUBLE_EQ(rank_bound(5, 5, 9, 1, 1.414), 1.414 * std::sqrt(std::log(10.0) / 2));
  EXPECT_DOUBLE_EQ(rank_bound(1, 1, 9, 9, 0), 1);
  SearchGraph graph = with_root();
  for (double score : {2.0, 5.0, 3.0, 4.0}) graph.add(correct_node(0, score));
  const auto selector = selector_named("rank-ucb", {{"noise", 0}});
  Random random(1);
  EXPECT_THAT(selector->pick(graph, random).parents, ElementsAre(2)) << "at first the best";
  const std::vector<double> share = frequencies(*selector, graph, 200);
  EXPECT_GT(share[2], share[4]);
  EXPECT_GT(share[4], share[3]);
  EXPECT_GT(share[1], 0);
}

TEST(TechniqueSoftmax, ScoresTechniquesByItsFormula) {
  EXPECT_DOUBLE_EQ((TechniqueValue{10, 0.5, 3, 20}.score()), 10 * 0.5 - 0.3 + 0.1 * 20);
  EXPECT_DOUBLE_EQ((TechniqueValue{0, 0.5, 9, 0}.score()), -0.5) << "at most half a point";
}

TEST(TechniqueSoftmax, DrawsUnknownTechniquesEvenly) {
  const SearchGraph graph = with_root();
  const auto selector = selector_named("technique-softmax", {}, {{"a", ""}, {"b", ""}});
  Random random(11);
  int first = 0;
  for (int i = 0; i < 4000; ++i) first += selector->pick(graph, random).strategy == "a";
  EXPECT_NEAR(first, 2000, 100);
}

TEST(Mixture, DrawsInItsPublishedProportions) {
  SearchGraph graph = with_root();
  graph.add(correct_node(0, 4));
  graph.add(correct_node(0, 1));
  const auto selector = selector_named("mixture", {{"islands", 1}, {"archive", 1}});
  const std::vector<double> share = frequencies(*selector, graph, 40000);
  // 0.2 uniform over two, 0.7 on the archive of one, 0.1 by score 4 : 1.
  EXPECT_THAT(share[1], DoubleNear(0.1 + 0.7 + 0.08, 0.01));
  EXPECT_THAT(share[2], DoubleNear(0.1 + 0.02, 0.01));
}

TEST(Mixture, KeepsToItsIsland) {
  SearchGraph graph = with_root();
  for (int island : {0, 1}) {
    graph.add(correct_node(0, 2 + island));
    graph.change(graph.size() - 1).island = island;
  }
  const auto selector = selector_named("mixture", {{"islands", 2}});
  Random random(1);
  for (int i = 0; i < 40; ++i) {
    const Pick pick = selector->pick(graph, random);
    EXPECT_EQ(graph.node(pick.parents.front()).island, pick.island);
    EXPECT_EQ(pick.island, i % 2);
  }
}

TEST(RankShare, IsProportionalToTheRankFromBelow) {
  SearchGraph graph = with_root();
  for (double score : {3.0, 2.0, 1.0}) graph.add(correct_node(0, score));
  const std::vector<double> share = frequencies(*selector_named("rank"), graph, 30000);
  EXPECT_THAT(share[1], DoubleNear(3.0 / 6, 0.01));
  EXPECT_THAT(share[2], DoubleNear(2.0 / 6, 0.01));
  EXPECT_THAT(share[3], DoubleNear(1.0 / 6, 0.01));
}

TEST(Boltzmann, IsASoftmaxOfScores) {
  SearchGraph graph = with_root();
  graph.add(correct_node(0, 1.0));
  graph.add(correct_node(0, 1.1));
  const std::vector<double> share = frequencies(
      *selector_named("boltzmann", {{"temperature", 0.1}, {"period", 1e9}}), graph, 30000);
  EXPECT_THAT(share[2] / share[1], DoubleNear(std::exp(1.0), 0.1));
}

TEST(LineageDeficit, GivesWorkToTheLineageThatGotLeastOfWhatItDeserves) {
  EXPECT_THAT(
      lineage_deficits({0.5, 0.5}, {3, 1}),
      ElementsAre(DoubleNear(0.5 / (0.75 + 0.25), 1e-12), DoubleNear(0.5 / (0.25 + 0.25), 1e-12)));
  SearchGraph graph = with_root();
  graph.add(correct_node(0, 2));
  graph.add(correct_node(0, 2));
  graph.add(correct_node(1, 2));
  graph.add(failed_node(1));
  Random random(1);
  EXPECT_THAT(selector_named("lineage-deficit")->pick(graph, random).parents, ElementsAre(2));
}

TEST(Curiosity, DrawsAmongTheElitesOfCells) {
  SearchGraph graph = with_root();
  for (auto [score, cell] : {std::pair{2.0, 0}, {3.0, 0}, {1.0, 1}}) {
    graph.add(correct_node(0, score));
    graph.change(graph.size() - 1).cell = {cell};
  }
  EXPECT_THAT(cell_elites(graph), ElementsAre(2, 3));
  const std::vector<double> share =
      frequencies(*selector_named("curiosity", {{"uniform", 0}, {"fitness", 1}}), graph, 20000);
  EXPECT_EQ(share[1], 0) << "not the best of its cell";
  EXPECT_THAT(share[2], DoubleNear(0.75, 0.01));
  EXPECT_THAT(share[3], DoubleNear(0.25, 0.01));
}

TEST(Frontier, OrdersOpenHypothesesByScoreDifficultyAndRating) {
  HypothesisTree tree;
  const int tile = tree.add({0, "tile", 0.8, 3});
  const int hard = tree.add({0, "tensor cores", 0.9, 5});
  const int easy = tree.add({0, "vectorise", 0.8, 1});
  const int below = tree.add({tile, "double buffer", 1.0, 1});
  EXPECT_THAT(tree.frontier(0.1), ElementsAre(easy, tile)) << "too hard at first, parents first";
  EXPECT_THAT(tree.frontier(0.5), ElementsAre(hard, easy, tile));
  tree.node(tile).state = HypothesisState::kSolved;
  EXPECT_THAT(tree.frontier(0.1), ElementsAre(below, easy));
  tree.node(below).state = tree.node(easy).state = HypothesisState::kTooHard;
  EXPECT_THAT(tree.frontier(0.1), ElementsAre(hard)) << "nothing easier is left";
}

TEST(Scores, FollowTheirPublishedFormulas) {
  const auto score = [](const char* rule, NodeState state, double speedup) {
    return (*find_score_rule(rule))->score(state, speedup);
  };
  EXPECT_DOUBLE_EQ(score("kevin", NodeState::kCorrect, 1.5), 1.8);
  EXPECT_DOUBLE_EQ(score("adaexplore", NodeState::kCorrect, 10), 1.6);
  EXPECT_DOUBLE_EQ(score("adaexplore", NodeState::kCorrect, 0.01), 0.4);
  EXPECT_DOUBLE_EQ(score("adaexplore", NodeState::kWrong, 0), 0.05);
  EXPECT_DOUBLE_EQ(score("kernelfoundry", NodeState::kCorrect, 1), 0.75);
  EXPECT_DOUBLE_EQ(score("kernelfoundry", NodeState::kCorrect, 9), 1);
  EXPECT_DOUBLE_EQ(score("regrapht", NodeState::kCorrect, 0.5), -0.5);
  EXPECT_DOUBLE_EQ(score("regrapht", NodeState::kBroken, 0), -1);
  const auto gain = [](const char* rule, double child, double parent) {
    return (*find_gain_rule(rule))->gain(NodeState::kCorrect, child, parent);
  };
  EXPECT_DOUBLE_EQ(gain("share-saved", 75, 100), 0.25);
  EXPECT_DOUBLE_EQ(gain("share-saved", 125, 100), 0);
  EXPECT_DOUBLE_EQ(gain("percent", 125, 100), -25);
  EXPECT_FALSE(find_score_rule("kelvin").has_value());
}

TEST(Scores, ReturnsOfAChainAreDiscountedFromTheirEnd) {
  EXPECT_THAT(discounted_returns({1, 0, 2}, 0.4), ElementsAre(1 + 0.4 * 0.8, 0.8, 2));
}

TEST(Acceptance, ComparesWithParentOrBest) {
  const SearchNode slow = correct_node(-1, 1), fast = correct_node(-1, 2), wrong = failed_node(0);
  const auto accept = [&](const char* rule, const SearchNode& child, double factor = 0) {
    return (*find_accept_rule(rule))->accept(child, slow, fast, factor);
  };
  EXPECT_TRUE(accept("always", wrong));
  EXPECT_FALSE(accept("if-better", wrong));
  EXPECT_TRUE(accept("if-better", correct_node(0, 1.5)));
  EXPECT_FALSE(accept("if-best", correct_node(0, 1.5)));
  EXPECT_TRUE(accept("at-least", correct_node(0, 1.3), 1.3));
  EXPECT_FALSE(accept("at-least", correct_node(0, 1.2), 1.3));
}

}  // namespace
}  // namespace quern
