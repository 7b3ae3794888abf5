// SPDX-License-Identifier: Apache-2.0
// What a search costs besides models and evaluations: selection, view, prompt, reply, bookkeeping,
// journal. A scripted client answers at once, a pretended evaluator judges by a hash; the rest is
// ours. Milliseconds an attempt, over the last fifth of the first 100, 1,000 and 10,000 attempts of
// one run: of the recipe, and of the whole loop with its journal; of the clock, and of the
// processor.
//
// usage: harness_cost FOLDER [--attempts 10000] [--json FILE] [--all | RECIPE...]
//
// Rows that FILE has of other recipes are kept.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "record/json.h"
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

/// One recipe for each way of keeping and choosing kernels.
const std::vector<std::string> kRecipes = {"caesar",        "geak",       "accelopt", "stark",
                                           "kernelevolve",  "kernelband", "akg",      "fm-agent",
                                           "kernelfoundry", "openevolve", "k-search", "regrapht"};

/// Writes a new kernel of some kilobytes whenever it is asked.
class Scribe : public llm::Client {
 public:
  void start(llm::Request request, llm::CallControl,
             std::function<void(llm::Answer)> done) override {
    llm::Reply reply;
    reply.text = fmt::format("- Loop {} first.\n```cpp\n// kernel {}\n", calls_, calls_);
    const bool tuned = request.label.value("role", "") == "template";
    if (tuned) reply.text += "// tune: STEP = 1 2 4 8\n";
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

/// Times in ns: of the steady clock, and of this process's processors.
struct Instant {
  int64_t wall = 0, cpu = 0;
};

Instant now() {
  return {steady_now_ns(), static_cast<int64_t>(1e9 / CLOCKS_PER_SEC * std::clock())};
}

Instant operator-(Instant a, Instant b) { return {a.wall - b.wall, a.cpu - b.cpu}; }
Instant operator+(Instant a, Instant b) { return {a.wall + b.wall, a.cpu + b.cpu}; }

/// Where a run stood after so many attempts.
struct Reading {
  Instant recipe, loop;
};

/// Sums what a recipe takes, and notes it after each attempt.
class Clocked : public Proposer {
 public:
  explicit Clocked(Proposer& inner) : inner_(inner) {}
  Result<std::vector<ProposedCandidate>> next(int count) override {
    const Instant begin = now();
    auto made = inner_.next(count);
    spent_ = spent_ + (now() - begin);
    return made;
  }
  void tell(const Attempt& attempt) override {
    const Instant begin = now();
    inner_.tell(attempt);
    const Instant end = now();
    spent_ = spent_ + (end - begin);
    readings.push_back({spent_, end});
  }

  std::vector<Reading> readings;

 private:
  Proposer& inner_;
  Instant spent_;
};

/// Milliseconds an attempt over the last fifth of the first `attempts`.
Json row_of(const std::string& recipe, const std::vector<Reading>& readings, size_t attempts) {
  const size_t window = attempts / 5;
  const Reading& first = readings[attempts - 1 - window];
  const Reading& last = readings[attempts - 1];
  const auto each = [&](int64_t ns) {
    return std::round(1e-3 * static_cast<double>(ns) / static_cast<double>(window)) * 1e-3;
  };
  const Instant own = last.recipe - first.recipe, loop = last.loop - first.loop;
  fmt::print(
      "{:20} {:6} attempts: recipe {:7.3f} ms an attempt ({:.3f} of the processor), "
      "whole loop {:7.3f} ms ({:.3f})\n",
      recipe, attempts, each(own.wall), each(own.cpu), each(loop.wall), each(loop.cpu));
  std::fflush(stdout);
  return {{"recipe", recipe},
          {"attempts", attempts},
          {"recipe_ms", each(own.wall)},
          {"recipe_cpu_ms", each(own.cpu)},
          {"loop_ms", each(loop.wall)},
          {"loop_cpu_ms", each(loop.cpu)}};
}

Result<Json> measure(const std::string& name, const std::string& folder, int attempts) {
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
  QUERN_TRY(run_search({evaluator, proposer, store, {}, {}}));
  Json rows = Json::array();
  for (size_t mark : {size_t{100}, size_t{1'000}, size_t{10'000}, static_cast<size_t>(attempts)}) {
    if (mark > proposer.readings.size() || mark < 10) continue;
    if (!rows.empty() && rows.back()["attempts"] >= mark) continue;
    rows.push_back(row_of(name, proposer.readings, mark));
  }
  std::filesystem::remove_all(out);
  if (static_cast<int>(proposer.readings.size()) >= attempts) return rows;
  return Error{ErrorKind::kInternal,
               fmt::format("ended after {} attempts", proposer.readings.size()), ""};
}

/// Puts the rows of a recipe in place of those that the file has of it.
Result<void> keep(const std::string& path, const std::string& recipe, const Json& rows) {
  Json all = {{"what", "milliseconds an attempt over the last fifth of the first `attempts`"},
              {"rows", Json::array()}};
  if (file_exists(path)) {
    QUERN_ASSIGN(const std::string text, read_file(path));
    QUERN_ASSIGN(const Json before, parse_json(text));
    for (const Json& row : before.at("rows")) {
      if (row.at("recipe") != recipe) all["rows"].push_back(row);
    }
  }
  for (const Json& row : rows) all["rows"].push_back(row);
  return write_file_atomic(path, dump(all, 1) + "\n");
}

struct Arguments {
  std::string folder, json;
  int attempts = 10'000;
  std::vector<std::string> recipes;
};

Result<Arguments> read_arguments(const std::vector<std::string>& words) {
  Arguments read;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--attempts" && i + 1 < words.size()) {
      read.attempts = std::max(100, std::atoi(words[++i].c_str()));
    } else if (words[i] == "--json" && i + 1 < words.size()) {
      read.json = words[++i];
    } else if (words[i] == "--all") {
      for (const auto& [name, text] : built_in_recipes()) read.recipes.push_back(name);
    } else if (i == 0) {
      read.folder = words[i];
    } else if (built_in_recipes().contains(words[i])) {
      read.recipes.push_back(words[i]);
    } else {
      return Error{ErrorKind::kUsage, fmt::format("there is no recipe '{}'", words[i]), ""};
    }
  }
  if (read.folder.empty()) {
    return Error{ErrorKind::kUsage,
                 "usage: harness_cost FOLDER [--attempts 10000] [--json FILE] [--all | RECIPE...]",
                 ""};
  }
  if (read.recipes.empty()) read.recipes = kRecipes;
  return read;
}

Result<void> run(const std::vector<std::string>& words) {
  QUERN_ASSIGN(const Arguments arguments, read_arguments(words));
  for (const std::string& name : arguments.recipes) {
    auto rows = measure(name, arguments.folder, arguments.attempts);
    if (!rows) return Error{rows.error().kind, name + ": " + rows.error().message, ""};
    if (!arguments.json.empty()) QUERN_TRY(keep(arguments.json, name, *rows));
  }
  return {};
}

}  // namespace
}  // namespace quern

int main(int count, char** values) {
  const auto done = quern::run(std::vector<std::string>(values + 1, values + count));
  if (!done) fmt::print(stderr, "{}\n", done.error().message);
  return done ? 0 : 1;
}
