// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "base/file.h"
#include "base/strings.h"
#include "commands.h"
#include "import.h"
#include "model_options.h"
#include "searching.h"
#include "store/run_store.h"
#include "wiring.h"

namespace quern::cli {
namespace {

struct OptimizeArguments {
  std::string task, size, budget = "64", recipe, out, devices;
  RunOptions options;  ///< as given by flags of their own
  ModelArguments models;
};

struct ResumeArguments {
  std::string directory, budget;
  ModelLimits limits;
};

Result<void> check_choice(const std::string& what, const std::string& value,
                          const std::vector<std::string>& known) {
  for (const std::string& name : known) {
    if (name == value) return {};
  }
  return Error{ErrorKind::kUsage, fmt::format("unknown {} '{}'", what, value),
               fmt::format("known: {}", join(known, ", "))};
}

/// A fresh directory `runs/<task>-<size>-<number>`.
Result<std::string> fresh_directory(const std::string& task, const std::string& size) {
  QUERN_TRY(make_directories("runs"));
  for (int number = 1; number < 100'000; ++number) {
    std::string path = fmt::format("runs/{}-{}-{:03}", task, size, number);
    std::error_code code;
    if (std::filesystem::create_directory(path, code)) return path;
    if (code) {
      return Error{ErrorKind::kEnvironment, fmt::format("cannot make {}: {}", path, code.message()),
                   "choose another directory with --out"};
    }
  }
  return Error{ErrorKind::kEnvironment, "runs/ is full of runs of this task",
               "choose a directory with --out"};
}

Result<int> search_and_report(const Context& context, RunStore& store, Evaluator& evaluator,
                              const TaskAtSize& task) {
  QUERN_ASSIGN(const SearchResult result, search_to_end(context, store, evaluator, task));
  if (context.json) {
    print_json(result.json);
  } else {
    print(describe(result, store.directory()));
  }
  return exit_code(result.summary);
}

/// A module's task file is kept beside its runs: a run directory must be new.
std::string imported_directory(const OptimizeArguments& arguments) {
  return arguments.out.empty() ? "runs/imported" : arguments.out + ".task";
}

Result<int> optimize(const Context& context, const OptimizeArguments& arguments) {
  RunOptions options = arguments.options;
  QUERN_TRY(parse_budget(arguments.budget, options));
  QUERN_TRY(check_choice("target", options.target, known_targets()));
  QUERN_TRY(choose_recipe(arguments.recipe, arguments.models, options));
  std::string source = arguments.task;
  if (is_module_file(source)) {
    QUERN_ASSIGN(source, import_one(context, source, imported_directory(arguments)));
  }
  QUERN_ASSIGN(TaskAtSize task, load_task_at(context, source, arguments.size, options.target));
  set_task(task, options);
  QUERN_ASSIGN(std::unique_ptr<Evaluator> evaluator,
               make_evaluator(context, task, options, arguments.devices));
  std::string out = arguments.out;
  if (out.empty()) {
    QUERN_ASSIGN(out, fresh_directory(options.task_name, options.size));
  }
  QUERN_ASSIGN(RunStore store,
               RunStore::create(out, options, evaluator->environment(), evaluator->work()));
  say(fmt::format("{} at size {}, run directory {}\n", options.task_name, options.size, out));
  return search_and_report(context, store, *evaluator, task);
}

Result<int> resume(const Context& context, const ResumeArguments& arguments) {
  QUERN_ASSIGN(RunStore store, RunStore::open(arguments.directory));
  QUERN_ASSIGN(RunRecord run, store.run());
  const bool limited =
      arguments.limits.calls > 0 || arguments.limits.tokens > 0 || arguments.limits.usd > 0;
  if (limited && run.options.recipe_text.empty()) {
    return Error{ErrorKind::kUsage, "the rules ask no model", "leave the limits on models out"};
  }
  if (!arguments.budget.empty()) QUERN_TRY(parse_budget(arguments.budget, run.options));
  set_limits(arguments.limits, run.options);
  if (limited || !arguments.budget.empty()) QUERN_TRY(store.set_budget(run.options));
  QUERN_ASSIGN(TaskAtSize task, parse_task_at(run.options.task_text, run.options.task_name,
                                              run.options.size, run.options.target));
  QUERN_ASSIGN(std::unique_ptr<Evaluator> evaluator,
               make_evaluator(context, task, run.options,
                              devices_to_use("", run.options.device != 0, run.options.target)));
  Environment here = evaluator->environment();
  if (here.cpu != run.environment.cpu || here.threads != run.environment.threads) {
    say(
        fmt::format("note: the run began on {} with {} threads; this is {} with {}. Old and new "
                    "times are not comparable.\n",
                    run.environment.cpu, run.environment.threads, here.cpu, here.threads));
  }
  return search_and_report(context, store, *evaluator, task);
}

int finish(const Context& context, const Result<int>& result) {
  return result ? *result : fail(context, result.error());
}

}  // namespace

Action add_optimize(CLI::App& app) {
  auto a = std::make_shared<OptimizeArguments>();
  app.add_option("TASK", a->task,
                 "A task's name (see: quern tasks), or the path of a .task file or PyTorch module")
      ->required();
  app.add_option("--size", a->size, "Size set [cpu where the task has it, else full]");
  app.add_option("--budget", a->budget,
                 "Candidates to try (64), or a time (90s, 5m), or both (64,5m)")
      ->capture_default_str();
  app.add_option("--target", a->options.target, "Hardware to run on: cpu, opencl, cuda")
      ->capture_default_str();
  app.add_option("--device", a->options.device, "Which of the target's devices (see: quern doctor)")
      ->capture_default_str();
  app.add_option(
      "--recipe", a->recipe,
      "Search method: one of `quern recipes`, or a .toml file [quern; agent with --agent]");
  add_devices_option(app, a->devices);
  add_model_options(app, a->models);
  app.add_option("--seed", a->options.seed, "Seed of every random choice")->capture_default_str();
  app.add_option("--threads", a->options.threads, "Threads a kernel may use [all]")
      ->check(CLI::Range(1, 4096));
  app.add_option("--compiler", a->options.compiler, "g++, clang++, or the path of one")
      ->capture_default_str();
  app.add_option("--out", a->out, "Run directory [runs/TASK-SIZE-NUMBER]");
  app.add_option("--clock", a->options.clock, "steady, or simulated (for tests)")->group("");
  return [a, &app](const Context& context) {
    a->devices = devices_to_use(a->devices, app.count("--device") > 0, a->options.target);
    return finish(context, optimize(context, *a));
  };
}

Action add_resume(CLI::App& app) {
  auto a = std::make_shared<ResumeArguments>();
  app.add_option("RUN", a->directory, "Run directory")->required();
  app.add_option("--budget", a->budget, "New budget of the whole run [as it was]");
  add_limit_options(app, a->limits);
  return [a](const Context& context) { return finish(context, resume(context, *a)); };
}

}  // namespace quern::cli
