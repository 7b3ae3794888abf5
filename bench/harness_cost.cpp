// SPDX-License-Identifier: Apache-2.0
// What a search costs besides models and evaluations: selection, view, prompt, reply, bookkeeping,
// journal. A scripted client answers at once, a pretended evaluator judges by a hash; the rest is
// ours. Prints milliseconds an attempt, over the last thousand of so many.
//
// usage: harness_cost FOLDER [--attempts 10000] [RECIPE...]
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "search/recipe_proposer.h"
#include "search/search.h"
#include "search/simulated_evaluator.h"
#include "store/run_store.h"
#include "task/parse.h"

namespace quern {
namespace {

const char* const kTask =
    "task softmax(batch = 64, dim = 512)\ninput x : f32[batch, dim]\n"
    "m[i] = max[j] x[i, j]\ne[i, j] = exp(x[i, j] - m[i])\ns[i] = sum[j] e[i, j]\n"
    "output y[i, j] = e[i, j] / s[i]\n";

/// Writes a new kernel of some kilobytes whenever it is asked.
class Scribe : public llm::Client {
 public:
  void start(llm::Request, llm::CallControl, std::function<void(llm::Answer)> done) override {
    llm::Reply reply;
    reply.text = fmt::format("- Loop {} first.\n```cpp\n// kernel {}\n", calls_, calls_);
    reply.text += "extern \"C\" void softmax(const float* x, float* y) {\n";
    for (int line = 0; line < 80; ++line) {
      reply.text += fmt::format("  for (int i = {}; i < 512; ++i) y[i + {}] += x[i] * {};\n", line,
                                calls_ % 97, line * 7 % 13);
    }
    reply.text += "}\n```\n";
    ++calls_;
    llm::Answer answer;
    answer.outcome = reply;
    done(answer);
  }

 private:
  int calls_ = 0;
};

/// Notes when each batch was asked for and told of.
class Clocked : public Proposer {
 public:
  explicit Clocked(Proposer& inner) : inner_(inner) {}
  Result<std::vector<ProposedCandidate>> next(int count) override {
    const int64_t begin = steady_now_ns();
    auto made = inner_.next(count);
    spent_ns += steady_now_ns() - begin;
    return made;
  }
  void tell(const Attempt& attempt) override {
    const int64_t begin = steady_now_ns();
    inner_.tell(attempt);
    spent_ns += steady_now_ns() - begin;
    if (++attempts == mark) begin_ns = begin, spent_before_ns = spent_ns;
  }

  int attempts = 0, mark = 0;
  int64_t spent_ns = 0, spent_before_ns = 0, begin_ns = 0;

 private:
  Proposer& inner_;
};

Result<void> measure(const std::string& name, const std::string& folder, int attempts) {
  QUERN_ASSIGN(Recipe recipe, parse_recipe(built_in_recipes().at(name), name));
  recipe.rules.clear();  // none is to end the run
  QUERN_ASSIGN(const ir::Program program, parse_task(kTask, "softmax.task"));
  QUERN_ASSIGN(Prompts prompts, Prompts::make());
  Scribe scribe;
  RecipeSetting setting = recipe_setting(program);
  setting.model = "scripted/scribe";
  RecipeProposer recipe_proposer(std::move(recipe), setting, std::move(prompts), &scribe);
  Clocked proposer(recipe_proposer);
  SimulatedEvaluator evaluator({});
  RunOptions options;
  options.task_name = program.name;
  options.task_text = print_task(program);
  options.budget_attempts = attempts;
  const std::string out = folder + "/" + name;
  std::filesystem::remove_all(out);
  QUERN_ASSIGN(RunStore store,
               RunStore::create(out, options, evaluator.environment(), evaluator.work()));
  const int window = std::min(1000, attempts / 2);
  proposer.mark = attempts - window;
  int64_t end_ns = 0;
  SearchParts parts{evaluator,
                    proposer,
                    store,
                    [&](const Progress& progress) {
                      if (progress.phase == "finals") end_ns = steady_now_ns();
                    },
                    {}};
  QUERN_TRY(run_search(parts));
  const double of_window = 1e-6 / window;
  fmt::print("{:20} {:6} attempts: recipe {:.3f} ms an attempt, whole loop {:.3f} ms\n", name,
             proposer.attempts,
             static_cast<double>(proposer.spent_ns - proposer.spent_before_ns) * of_window,
             static_cast<double>(end_ns - proposer.begin_ns) * of_window);
  std::filesystem::remove_all(out);
  return {};
}

int run(const std::vector<std::string>& arguments) {
  int attempts = 10'000;
  std::vector<std::string> recipes;
  for (size_t i = 1; i < arguments.size(); ++i) {
    if (arguments[i] == "--attempts" && i + 1 < arguments.size()) {
      attempts = std::max(4, std::atoi(arguments[++i].c_str()));
    } else if (built_in_recipes().contains(arguments[i])) {
      recipes.push_back(arguments[i]);
    } else {
      fmt::print(stderr, "there is no recipe '{}'\n", arguments[i]);
      return 2;
    }
  }
  if (arguments.empty()) {
    fmt::print(stderr, "usage: harness_cost FOLDER [--attempts 10000] [RECIPE...]\n");
    return 2;
  }
  for (const auto& [name, text] : built_in_recipes()) {
    const bool wanted =
        recipes.empty() || std::find(recipes.begin(), recipes.end(), name) != recipes.end();
    if (!wanted) continue;
    const auto measured = measure(name, arguments[0], attempts);
    if (measured) continue;
    fmt::print(stderr, "{}: {}\n", name, measured.error().message);
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace quern

int main(int count, char** values) {
  return quern::run(std::vector<std::string>(values + 1, values + count));
}
