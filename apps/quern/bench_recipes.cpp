// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/file.h"
#include "bench.h"
#include "interrupt.h"
#include "llm/models.h"
#include "model_options.h"
#include "planned_run.h"
#include "search/recipe_bench.h"
#include "search/what_if.h"
#include "searching.h"
#include "wiring.h"

namespace quern::cli {
namespace {

struct BenchArguments {
  std::vector<std::string> recipes, tasks;
  ModelArguments models;
  std::string size, equal = "attempts=32", out = "bench-recipes", compiler = "g++",
                    clock = "steady";
  int seeds = 3, threads = 0;
};

Result<void> set_budget(const EqualBudget& equal, RunOptions& options) {
  options.budget_attempts = 0;
  const bool rules = options.recipe_text.empty();
  switch (equal.kind) {
    case EqualBudget::Kind::kAttempts:
      options.budget_attempts = static_cast<int>(equal.amount);
      return {};
    case EqualBudget::Kind::kSeconds:
      options.budget_s = equal.amount;
      return {};
    case EqualBudget::Kind::kCalls:
      // The rules call nobody; a call brings one candidate at most.
      if (rules) options.budget_attempts = static_cast<int>(equal.amount);
      options.budget_calls = static_cast<uint64_t>(equal.amount);
      return {};
    case EqualBudget::Kind::kUsd:
      if (rules) {
        return Error{ErrorKind::kUsage,
                     "the rules cost no money, so that they cannot be compared "
                     "at equal cost",
                     "compare at equal seconds or attempts, or leave rules out"};
      }
      options.budget_usd = equal.amount;
      return {};
  }
  return {};
}

Result<std::vector<PlannedRun>> plan(const Context& context, const BenchArguments& arguments,
                                     const EqualBudget& equal) {
  std::vector<PlannedRun> planned;
  for (const std::string& recipe : arguments.recipes) {
    RunOptions options;
    options.threads = arguments.threads;
    options.compiler = arguments.compiler;
    options.clock = arguments.clock;
    ModelArguments models = arguments.models;
    if (recipe == "rules") models = {};
    QUERN_TRY(choose_recipe(recipe, models, options));
    QUERN_TRY(set_budget(equal, options));
    for (const std::string& name : arguments.tasks) {
      QUERN_ASSIGN(const TaskAtSize task, load_task_at(context, name, arguments.size));
      set_task(task, options);
      for (int seed = 0; seed < arguments.seeds; ++seed) {
        options.seed = static_cast<uint64_t>(seed);
        planned.push_back({options, task,
                           fmt::format("{}/{}-{}-{}-s{}", arguments.out, options.recipe,
                                       options.task_name, options.size, seed)});
      }
    }
  }
  return planned;
}

Result<BenchRun> read_run(const PlannedRun& planned, const EqualBudget& equal,
                          Environment& environment) {
  QUERN_ASSIGN(RunStore store, RunStore::read(planned.directory));
  QUERN_ASSIGN(const RecordedRun recorded, load_recorded(store));
  environment = recorded.run.environment;
  std::unique_ptr<llm::Models> models;
  if (!planned.options.recipe_text.empty()) {
    QUERN_ASSIGN(models, llm::Models::replay(planned.directory));
  }
  NoClient nobody;
  CallLog log(models ? models->client() : nobody);
  QUERN_ASSIGN(std::unique_ptr<Proposer> proposer,
               make_proposer(planned.task, recorded.run.options, environment, &log));
  QUERN_ASSIGN(BenchRun run, measure_run(recorded, equal, *proposer, log));
  run.directory = planned.directory;
  return run;
}

Result<int> bench(const Context& context, const BenchArguments& arguments) {
  QUERN_ASSIGN(const EqualBudget equal, parse_equal(arguments.equal));
  QUERN_ASSIGN(const std::vector<PlannedRun> planned, plan(context, arguments, equal));
  catch_interrupts();
  RecipeComparison comparison;
  comparison.equal = equal;
  comparison.model = planned.empty() ? "" : planned.back().options.model;
  comparison.clock = arguments.clock;
  comparison.seeds = arguments.seeds;
  QUERN_TRY(make_directories(arguments.out));
  for (size_t i = 0; i < planned.size(); ++i) {
    Sharing sharing;
    sharing.note = fmt::format(": run {} of {}", i + 1, planned.size());
    QUERN_ASSIGN(const bool ended, make_run(context, planned[i], sharing));
    if (!ended || interrupted()) {
      say("interrupted; the same command goes on with it\n");
      return kInterrupted;
    }
    QUERN_ASSIGN(BenchRun read, read_run(planned[i], equal, comparison.environment));
    comparison.size = planned[i].options.size;
    comparison.runs.push_back(std::move(read));
  }
  comparison.scores = score_recipes(comparison.runs);
  const std::string page = arguments.out + "/report.html";
  QUERN_TRY(write_file_atomic(page, render_comparison(comparison)));
  const Json json = to_json(comparison);
  QUERN_TRY(write_file_atomic(arguments.out + "/results.json", dump(json, 1) + "\n"));
  const bool alike = std::ranges::all_of(
      comparison.runs, [](const BenchRun& run) { return run.differences.empty(); });
  if (context.json) {
    Json shown = json;
    shown["report_path"] = page;
    print_json(shown);
  } else {
    print(table_text(comparison) + fmt::format("  report   {}\n", page));
  }
  if (!alike) say("some runs do not replay as they were recorded: quern replay RUN says where\n");
  return alike ? kImproved : kInternalError;
}

}  // namespace

Action add_bench_recipes(CLI::App& app) {
  auto a = std::make_shared<BenchArguments>();
  app.add_option("RECIPES", a->recipes, "Recipes to compare: rules, of `quern recipes`, or files")
      ->required();
  app.add_option("--tasks", a->tasks, "Tasks to compare them on: names, or .task files")
      ->required();
  app.add_option("--equal", a->equal,
                 "What every run may spend: attempts=N, calls=N, usd=X or seconds=S")
      ->capture_default_str();
  app.add_option("--seeds", a->seeds, "Runs of each recipe on each task, with seeds 0, 1, …")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--size", a->size, "Size set [cpu where the task has it, else full]");
  app.add_option("--out", a->out, "Folder of the runs; what is there is not done again")
      ->capture_default_str();
  add_model_options(app, a->models);
  app.add_option("--threads", a->threads, "Threads a kernel may use [all]")
      ->check(CLI::Range(1, 4096));
  app.add_option("--compiler", a->compiler, "g++, clang++, or the path of one")
      ->capture_default_str();
  app.add_option("--clock", a->clock, "steady, or simulated (for tests)")->group("");
  return [a](const Context& context) {
    const Result<int> code = bench(context, *a);
    return code ? *code : fail(context, code.error());
  };
}

}  // namespace quern::cli
