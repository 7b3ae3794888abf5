// SPDX-License-Identifier: Apache-2.0
#include "search/recipe_proposer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "task/parse.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

const char* const kTask = "task relu(n = 64)\ninput x : f32[n]\noutput y[i] = max(x[i], 0)\n";

/// A model that answers each kind of prompt in its own way. Its kernels have numbers; the text of a
/// kernel is all there is of it.
class ScriptedModel : public llm::Client {
 public:
  void start(llm::Request request, llm::CallControl,
             std::function<void(llm::Answer)> done) override {
    const std::string& prompt = request.messages.back().text;
    std::string kind = prompt.find("<<<<<<< SEARCH") != std::string::npos       ? "edit"
                       : prompt.find("Name the one fault") != std::string::npos ? "judge_wrong"
                       : prompt.find("Name exactly one") != std::string::npos   ? "judge_slow"
                       : prompt.find("plan one change") != std::string::npos    ? "plan"
                       : prompt.find("Mend it") != std::string::npos            ? "repair"
                       : prompt.find("joins what") != std::string::npos         ? "crossover"
                       : prompt.find("Make it faster") != std::string::npos     ? "rewrite"
                                                                                : "draft";
    kinds.push_back(kind);
    prompts.push_back(prompt);
    const bool writes = kind != "plan" && !kind.starts_with("judge");
    llm::Answer answer;
    llm::Reply reply;
    reply.text = writes ? "Here:\n```cpp\n" + kernel(++kernels) + "```\n" : "Advice: " + kind;
    if (silent) reply.text = "I would rather not.";
    answer.outcome = reply;
    if (failure) answer.outcome = *failure;
    done(answer);
  }

  static std::string kernel(int number) {
    return "// number " + std::to_string(number) +
           "\nextern \"C\" void relu(long n, const float* x, float* y) {\n}\n";
  }

  std::vector<std::string> kinds, prompts;
  int kernels = 0;
  bool silent = false;
  std::optional<llm::Failure> failure;
};

std::unique_ptr<RecipeProposer> proposer(const Recipe& recipe, llm::Client& model) {
  const auto program = parse_task(kTask, "relu.task");
  EXPECT_TRUE(program.has_value()) << program.error().message;
  RecipeSetting setting = recipe_setting(*program);
  setting.model = "mock/mind";
  setting.seed = 3;
  return std::make_unique<RecipeProposer>(recipe, setting, *Prompts::make(), model);
}

Recipe built_in(const std::string& name) {
  return *parse_recipe(built_in_recipes().at(name), name);
}

Attempt judged(const Candidate& candidate, double ns) {
  Attempt attempt;
  attempt.candidate = candidate;
  if (ns > 0) {
    Passed passed;
    passed.timing.median_ns = ns;
    attempt.evaluation.verdict = passed;
  } else {
    attempt.evaluation.verdict = WrongResult{"outside the error bound", "y[3]: got 1, expected 2"};
  }
  return attempt;
}

Attempt naive(double ns) {
  Candidate candidate = make_candidate("naive", "baseline");
  candidate.note = "naive";
  return judged(candidate, ns);
}

/// Runs so many candidates; each third is wrong, the others get faster. Returns the actions.
std::vector<std::string> run(RecipeProposer& by, int candidates) {
  by.tell(naive(1000));
  std::vector<std::string> actions;
  while (static_cast<int>(actions.size()) < candidates) {
    const auto made = by.next(8);
    EXPECT_TRUE(made.has_value()) << made.error().message;
    if (!made || made->empty()) break;
    for (const ProposedCandidate& one : *made) {
      actions.push_back(one.action);
      const double ns = actions.size() % 3 == 0 ? 0 : 1000.0 / (1.0 + 0.1 * actions.size());
      by.tell(judged(one.candidate, ns));
    }
  }
  return actions;
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
  const RecipeSetting setting = recipe_setting(*parse_task(kTask, "relu.task"));
  EXPECT_EQ(setting.signature, "extern \"C\" void relu(int64_t n, const float* x, float* y);");
  EXPECT_THAT(setting.naive, HasSubstr("relu"));
  EXPECT_THAT(setting.task_text, HasSubstr("output y[i]"));
}

TEST(RecipeProposer, EveryBuiltInRecipeRunsAndRepeatsItself) {
  for (const auto& [name, text] : built_in_recipes()) {
    ScriptedModel first, second;
    const auto a = proposer(built_in(name), first), b = proposer(built_in(name), second);
    const std::vector<std::string> actions = run(*a, 24);
    EXPECT_THAT(actions, SizeIs(testing::Ge(24u))) << name;
    EXPECT_EQ(actions, run(*b, 24)) << name;
    EXPECT_EQ(first.prompts, second.prompts) << name;
    const SearchGraph& graph = a->graph();
    EXPECT_GT(graph.node(graph.best()).speedup, 1) << name;
  }
}

TEST(RecipeProposer, RepairsAFailedKernelBeforeItAsksTheSelector) {
  Recipe recipe = built_in("cupilot");
  ASSERT_EQ(recipe.repairs, 1);
  recipe.operators.insert(recipe.operators.begin(),
                          RecipeOperator{"mend", "failed", 1, {"repair"}});
  recipe.roles.push_back({"repair", "repair", RoleOutput::kCode, {}, {}, ""});
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
  const auto by = proposer(built_in("evoengineer"), model);
  by->tell(naive(1000));
  const auto made = by->next(8);
  ASSERT_TRUE(made.has_value());
  EXPECT_THAT(*made, SizeIs(0));
  EXPECT_GT(model.kinds.size(), 3u) << "not at the first reply";
}

TEST(RecipeProposer, ASpentBudgetEndsTheSearchAndAMissingKeyIsAnError) {
  ScriptedModel model;
  model.failure = llm::Failure{llm::FailureKind::kBudget, "12 calls of 12 are spent", "", 0, ""};
  auto by = proposer(built_in("evoengineer"), model);
  auto made = by->next(8);
  ASSERT_TRUE(made.has_value());
  EXPECT_THAT(*made, SizeIs(0));
  EXPECT_THAT(model.kinds, SizeIs(1)) << "asked once";
  model.failure = llm::Failure{llm::FailureKind::kSetup, "MOCK_KEY is not set", "set it", 0, ""};
  by = proposer(built_in("evoengineer"), model);
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
