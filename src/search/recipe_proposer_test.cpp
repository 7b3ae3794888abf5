// SPDX-License-Identifier: Apache-2.0
#include "search/recipe_proposer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "search/recipe_testing.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

std::unique_ptr<RecipeProposer> proposer(const Recipe& recipe, llm::Client& model) {
  return make_proposer(recipe, &model);
}

std::vector<std::string> run(RecipeProposer& by, int candidates) {
  return run_recipe(by, candidates, improving_cost);
}

TEST(RecipeProposer, JudgesAndCodesAsCudaForgeDoes) {
  ScriptedModel model;
  const auto by = proposer(built_in("cudaforge"), model);
  EXPECT_THAT(run(*by, 4), ElementsAre("draft", "optimise", "optimise", "correct"));
  EXPECT_THAT(model.kinds, ElementsAre("draft", "judge_slow", "rewrite", "judge_slow", "rewrite",
                                       "judge_wrong", "repair"));
  EXPECT_THAT(model.prompts[2], HasSubstr("What the judge_slow wrote:\nAdvice: judge_slow"));
  EXPECT_THAT(model.prompts[2], HasSubstr("// number 1")) << "the last kernel";
  EXPECT_THAT(model.prompts[6], HasSubstr("y[3]: got 1, expected 2")) << "the evidence";
}

TEST(RecipeProposer, ShowsTheTaskAsMathematicsAndAsSource) {
  ScriptedModel model;
  const auto by = proposer(built_in("caesar"), model);
  run(*by, 1);
  const RecipeSetting setting = recipe_setting(*parse_task(kReluTask, "relu.task"));
  EXPECT_EQ(setting.signature, "extern \"C\" void relu(int64_t n, const float* x, float* y);");
  EXPECT_THAT(setting.naive, HasSubstr("relu"));
  EXPECT_THAT(setting.task_text, HasSubstr("output y[i]"));
}

TEST(RecipeProposer, EveryBuiltInRecipeRunsAndRepeatsItself) {
  for (const auto& [name, text] : built_in_recipes()) {
    ScriptedModel first, second;
    const Recipe recipe = built_in(name);
    const auto a = proposer(recipe, first), b = proposer(recipe, second);
    const std::vector<std::string> actions = run(*a, 24);
    const bool stops = std::ranges::any_of(
        recipe.rules, [](const RecipeRule& rule) { return rule.action == "stop"; });
    EXPECT_THAT(actions, SizeIs(testing::Ge(stops ? 1u : 24u))) << name;
    EXPECT_EQ(actions, run(*b, 24)) << name;
    EXPECT_EQ(first.prompts, second.prompts) << name;
    const SearchGraph& graph = a->graph();
    EXPECT_GT(graph.node(graph.best()).speedup, 1) << name;
  }
}

TEST(RecipeProposer, RepairsAFailedKernelBeforeItAsksTheSelector) {
  const Recipe recipe = *parse_recipe(
      "repairs = 1\n[select]\nuse = \"best\"\n"
      "[[operator]]\nname = \"mend\"\nwhen = \"failed\"\nroles = [\"repair\"]\n"
      "[[operator]]\nname = \"go on\"\nroles = [\"rewrite\"]\n",
      "mine");
  ScriptedModel model;
  const auto by = proposer(recipe, model);
  const std::vector<std::string> actions = run(*by, 8);
  // Attempts 3 and 6 are wrong: the ones after them mend them.
  EXPECT_EQ(actions[3], "mend");
  EXPECT_EQ(actions[6], "mend");
  EXPECT_NE(actions[4], "mend");
}

TEST(RecipeProposer, GivesUpOnAModelThatWritesNoCode) {
  ScriptedModel model;
  model.silent = true;
  const auto by = proposer(built_in("evoengineer-free"), model);
  by->tell(naive_baseline(1000));
  const auto made = by->next(8);
  ASSERT_TRUE(made.has_value());
  EXPECT_THAT(*made, SizeIs(0));
  EXPECT_GT(model.kinds.size(), 3u) << "not at the first reply";
}

TEST(RecipeProposer, ASpentBudgetEndsTheSearchAndAMissingKeyIsAnError) {
  ScriptedModel model;
  model.failure = llm::Failure{llm::FailureKind::kBudget, "12 calls of 12 are spent", "", 0, ""};
  auto by = proposer(built_in("evoengineer-free"), model);
  auto made = by->next(8);
  ASSERT_TRUE(made.has_value());
  EXPECT_THAT(*made, SizeIs(0));
  EXPECT_THAT(model.kinds, SizeIs(1)) << "asked once";
  model.failure = llm::Failure{llm::FailureKind::kSetup, "MOCK_KEY is not set", "set it", 0, ""};
  by = proposer(built_in("evoengineer-free"), model);
  made = by->next(8);
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().message, HasSubstr("MOCK_KEY"));
}

TEST(RecipeProposer, PrefersTheParticularOperatorToTheGeneral) {
  ScriptedModel model;
  const auto by = proposer(built_in("stark"), model);
  const std::vector<std::string> actions = run(*by, 30);
  EXPECT_THAT(actions, testing::Contains("debug"));
  EXPECT_THAT(actions, testing::Contains("plan and code"));
}

}  // namespace
}  // namespace quern
