// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "search/recipe_proposer.h"
#include "task/parse.h"

namespace quern {

/// What each kind of prompt says that no other does; the first that fits names it.
inline const std::pair<const char*, const char*> kPromptMarks[] = {
    {"<<<<<<< SEARCH", "edit"},
    {"Name the one fault", "judge_wrong"},
    {"Name exactly one", "judge_slow"},
    {"plan one change", "plan"},
    {"Mend it", "repair"},
    {"joins what", "crossover"},
    {"// tune: NAME", "template"},
    {"Criticise the last step", "critique"},
    {"what this step teaches", "summarise"},
    {"You cannot", "rules"},
    {"Sum up the message", "explain_error"},
    {"Rewrite the guidance", "guidance"},
    {"sketch a faster kernel", "sketch"},
    {"Take the operator apart", "decompose"},
    {"work on one stage only", "part"},
    {"Put the stages together", "compose"},
    {"Describe the strategy of each", "cross_strategies"},
    {"Read the figures", "profiler"},
    {"List at most six cases", "tests"},
    {"List five directions", "avenues"},
    {"Choose exactly one of these", "menu"},
    {"Work on this kernel as long", "agent"},
    {"Edit the tree", "hypotheses"},
    {"design five experiments", "select"},
    {"order in which this kernel visits", "swizzle"},
    {"Make it faster", "rewrite"},
};

/// A model that answers each kind of prompt in its own way. Its kernels have numbers; the text of a
/// kernel is all there is of it.
class ScriptedModel : public llm::Client {
 public:
  void start(llm::Request request, llm::CallControl,
             std::function<void(llm::Answer)> done) override {
    const std::string& prompt = request.messages.back().text;
    std::string kind = "draft";
    for (const auto& [mark, name] : kPromptMarks) {
      if (prompt.find(mark) == std::string::npos) continue;
      kind = name;
      break;
    }
    kinds.push_back(kind);
    prompts.push_back(prompt);
    llm::Answer answer;
    llm::Reply reply;
    reply.text = reply_to(kind);
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
  std::map<std::string, std::string> replies;  ///< by kind, in place of what it would write
  int kernels = 0;
  bool silent = false;
  std::optional<llm::Failure> failure;

 private:
  std::string reply_to(const std::string& kind) {
    if (const auto found = replies.find(kind); found != replies.end()) return found->second;
    for (const char* writes : {"draft", "rewrite", "repair", "edit", "crossover", "compose", "menu",
                               "agent", "template"}) {
      if (kind != writes) continue;
      const std::string tune = kind == "template" ? "// tune: TILE = 8 4 16\n" : "";
      return "Here:\n```cpp\n" + tune + kernel(++kernels) + "```\n";
    }
    return "Advice: " + kind;
  }
};

inline const char* const kReluTask =
    "task relu(n = 64)\ninput x : f32[n]\noutput y[i] = max(x[i], 0)\n";

inline std::unique_ptr<RecipeProposer> make_proposer(
    const Recipe& recipe, llm::Client* model,
    std::function<std::unique_ptr<Proposer>(uint64_t)> rules = nullptr) {
  const auto program = parse_task(kReluTask, "relu.task");
  EXPECT_TRUE(program.has_value()) << program.error().message;
  RecipeSetting setting = recipe_setting(*program);
  setting.model = "mock/mind";
  setting.seed = 3;
  setting.bytes = 8e5;
  setting.flops = 1e5;
  setting.bandwidth_gbs = setting.gflops = 1000;
  setting.rules = std::move(rules);
  return std::make_unique<RecipeProposer>(recipe, setting, *Prompts::make(), model);
}

inline Recipe built_in(const std::string& name) {
  const auto recipe = parse_recipe(built_in_recipes().at(name), name);
  EXPECT_TRUE(recipe.has_value()) << recipe.error().message << " " << recipe.error().hint;
  return *recipe;
}

/// Passed in so many ns, or wrong where it is 0.
inline Attempt judged(const Candidate& candidate, double ns) {
  Attempt attempt;
  attempt.candidate = candidate;
  if (ns > 0) {
    Passed passed;
    passed.timing.median_ns = ns;
    passed.timing.low_ns = ns * 0.99;
    passed.timing.high_ns = ns * 1.01;
    attempt.evaluation.verdict = passed;
  } else {
    attempt.evaluation.verdict = WrongResult{"outside the error bound", "y[3]: got 1, expected 2"};
  }
  return attempt;
}

inline Attempt naive_baseline(double ns) {
  Candidate candidate = make_candidate("naive", "baseline");
  candidate.note = "naive";
  return judged(candidate, ns);
}

/// Lets a proposer make so many candidates, each judged by the cost surface: ns by number from 1, 0
/// for wrong ones. Returns what led to each.
inline std::vector<std::string> run_recipe(RecipeProposer& by, int candidates,
                                           const std::function<double(int)>& cost) {
  by.tell(naive_baseline(1000));
  std::vector<std::string> actions;
  while (static_cast<int>(actions.size()) < candidates) {
    const auto made = by.next(8);
    EXPECT_TRUE(made.has_value()) << made.error().message;
    if (!made || made->empty()) break;
    for (const ProposedCandidate& one : *made) {
      actions.push_back(one.action);
      by.tell(judged(one.candidate, cost(static_cast<int>(actions.size()))));
    }
  }
  return actions;
}

/// Every third is wrong, the others get faster.
inline double improving_cost(int number) {
  return number % 3 == 0 ? 0 : 1000.0 / (1.0 + 0.1 * number);
}

}  // namespace quern
