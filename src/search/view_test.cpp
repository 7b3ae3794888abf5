// SPDX-License-Identifier: Apache-2.0
#include "search/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

SearchNode node(std::vector<int> parents, NodeState state, double score) {
  SearchNode made;
  made.parents = std::move(parents);
  made.state = state;
  made.score = score;
  return made;
}

/// 0 ─ 1 ─ 3 (correct 3), 4 (wrong), 7 (pending)
///   └ 2 ─ 5 (correct 5), 6 (broken)
SearchGraph tree() {
  SearchGraph graph;
  graph.add(node({}, NodeState::kCorrect, 0));
  graph.add(node({0}, NodeState::kCorrect, 1));
  graph.add(node({0}, NodeState::kCorrect, 2));
  graph.add(node({1}, NodeState::kCorrect, 3));
  graph.add(node({1}, NodeState::kWrong, 0));
  graph.add(node({2}, NodeState::kCorrect, 5));
  graph.add(node({2}, NodeState::kBroken, 0));
  graph.add(node({1}, NodeState::kPending, 0));
  return graph;
}

double by_score(const SearchNode& a, const SearchNode& b) {
  return std::min(1.0, std::abs(a.score - b.score) / 10);
}

std::vector<int> ids(const std::vector<std::string>& terms, int self) {
  const auto view = parse_view(terms, 1000);
  EXPECT_TRUE(view.has_value());
  Random random(1);
  std::vector<int> found;
  for (const ViewNode& shown : view_nodes(*view, tree(), self, by_score, random)) {
    found.push_back(shown.id);
  }
  return found;
}

TEST(View, NamesTheSetsThatRecipesUse) {
  EXPECT_THAT(ids({"self"}, 3), ElementsAre(3));
  EXPECT_THAT(ids({"root"}, 3), ElementsAre(0));
  EXPECT_THAT(ids({"parents"}, 3), ElementsAre(1, 0));
  EXPECT_THAT(ids({"parents 1"}, 3), ElementsAre(1));
  EXPECT_THAT(ids({"children"}, 1), ElementsAre(3, 4)) << "pending ones are not shown";
  EXPECT_THAT(ids({"siblings"}, 1), ElementsAre(2));
  EXPECT_THAT(ids({"siblings-children"}, 1), ElementsAre(5, 6));
  EXPECT_THAT(ids({"leaders 2"}, 1), ElementsAre(5, 3));
  EXPECT_THAT(ids({"failures 1"}, 1), ElementsAre(6));
  EXPECT_THAT(ids({"previous 3"}, 1), ElementsAre(6, 5, 4));
  EXPECT_THAT(ids({"siblings"}, 0), IsEmpty()) << "the root has none";
}

TEST(View, ShowsEachNodeOnceUnderItsFirstTerm) {
  EXPECT_THAT(ids({"self", "root", "parents", "leaders 3"}, 3), ElementsAre(3, 0, 1, 5, 2));
}

TEST(View, DiverseGoesAwayFromWhatIsShown) {
  EXPECT_THAT(ids({"leaders 1", "diverse 2"}, 0), ElementsAre(5, 1, 3));
}

TEST(View, RandomIsOfCorrectNodesWithoutRepeats) {
  EXPECT_THAT(ids({"random 9"}, 0), UnorderedElementsAre(1, 2, 3, 5));
}

TEST(View, UnknownSetsGetASuggestion) {
  EXPECT_THAT(parse_view({"leader 2"}, 10).error().hint, HasSubstr("leaders"));
  EXPECT_THAT(parse_view({"leaders"}, 10).error().message, HasSubstr("needs a count"));
  EXPECT_FALSE(parse_view({"leaders x"}, 10).has_value());
  EXPECT_FALSE(parse_view({"leaders 0"}, 10).has_value());
  EXPECT_FALSE(parse_view({"self 2"}, 10).has_value());
  EXPECT_EQ(print(parse_view({"parents 3"}, 10)->terms[0]), "parents 3");
}

TEST(FitTexts, CutsAtALineEndAndDropsTheRest) {
  const std::string lines(1000, 'a');
  std::string text;
  for (int i = 0; i < 100; ++i) text += "0123456\n";  // 800 characters
  EXPECT_THAT(fit_texts({"ab\n", "cd\n"}, 6), ElementsAre("ab\n", "cd\n"));
  EXPECT_THAT(fit_texts({"ab\n", "cd\n"}, 5), ElementsAre("ab\n")) << "too little would remain";
  const std::vector<std::string> cut = fit_texts({"ab\n", text, "later\n"}, 603);
  ASSERT_EQ(cut.size(), 2u);
  EXPECT_EQ(cut[1].size(), 600u);
  EXPECT_THAT(fit_texts({lines}, 900), IsEmpty()) << "no line end to cut at";
  EXPECT_THAT(fit_texts({"ab"}, 0), IsEmpty());
}

}  // namespace
}  // namespace quern
