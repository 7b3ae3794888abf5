// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <memory>

#include "base/file.h"
#include "base/strings.h"
#include "base/suggest.h"
#include "commands.h"
#include "interrupt.h"
#include "models.h"
#include "progress.h"
#include "search/recipe.h"
#include "search/report.h"
#include "search/search.h"
#include "store/run_store.h"
#include "task/parse.h"
#include "wiring.h"

namespace quern::cli {
namespace {

struct OptimizeArguments {
  std::string task, size, budget = "64", target = "cpu", recipe = "rules", out, compiler = "g++",
                          clock = "steady", model, models;
  uint64_t seed = 0, max_calls = 0, max_tokens = 0;
  double max_usd = 0;
  int threads = 0, device = 0;
};

/// "64" attempts, or "90s", "5m", "1h" of wall time; both as "64,5m".
Result<void> parse_budget(const std::string& text, RunOptions& options) {
  options.budget_attempts = 0;
  options.budget_s = 0;
  for (const std::string& part : split(text, ',')) {
    char* end = nullptr;
    double value = std::strtod(part.c_str(), &end);
    std::string unit = end;
    double seconds = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
    bool whole = value == std::floor(value) && value <= 1e9;
    if (end == part.c_str() || !(value > 0) || !std::isfinite(value) ||
        (unit.empty() ? !whole : seconds == 0)) {
      return Error{ErrorKind::kUsage, fmt::format("'{}' is not a budget", text),
                   "a number of candidates (64), or a time (90s, 5m, 1h), or both (64,5m)"};
    }
    if (unit.empty()) {
      options.budget_attempts = static_cast<int>(value);
    } else {
      options.budget_s = value * seconds;
    }
  }
  return {};
}

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

int exit_code(const RunSummary& summary) {
  if (summary.end == SearchEnd::kInterrupted) return kInterrupted;
  if (summary.improved()) return kImproved;
  return summary.best ? kNoImprovement : kBudgetExhausted;
}

std::string best_source_name(const std::string& target) {
  return target == "opencl" ? "best.cl" : target == "cuda" ? "best.cu" : "best.cpp";
}

std::string describe(const RunSummary& summary, const RunStore& store,
                     const std::string& source_name) {
  std::string text;
  if (!summary.best) {
    text = summary.attempts == 0 ? "The run ended before any kernel was tried.\n"
                                 : "No kernel passed.\n";
  } else if (const auto& duel = summary.best->duel) {
    const char* what = summary.improved() ? "faster than"
                       : duel->different  ? "slower than"
                                          : "no different from";
    text = fmt::format(
        "{:.2f}× (95 % interval {:.2f} to {:.2f}) of {}: {} the fastest baseline\n"
        "  {} a call, {:.0f} % of the physics floor, verified at level {}\n",
        duel->speedup, duel->low, duel->high, duel->baseline, what,
        format_ns(summary.best->median_ns), 100 * summary.best->roofline,
        summary.best->verification_level);
  }
  for (const BaselineTime& baseline : summary.baselines) {
    text += fmt::format("  baseline {:<10} {}\n", baseline.name, format_ns(baseline.median_ns));
  }
  if (summary.best) text += fmt::format("  kernel   {}/{}\n", store.directory(), source_name);
  text += fmt::format("  report   {}/report.html\n", store.directory());
  if (summary.end == SearchEnd::kInterrupted) {
    text += fmt::format("  go on    quern resume {}\n", store.directory());
  }
  return text;
}

/// Best source, summary and report, from the record.
Result<Json> write_results(RunStore& store, const RunSummary& summary) {
  QUERN_ASSIGN(std::vector<Attempt> attempts, store.attempts());
  QUERN_ASSIGN(RunRecord run, store.run());
  std::string source_path;
  for (const Attempt& attempt : attempts) {
    if (!summary.best || attempt.number != summary.best->number) continue;
    QUERN_TRY(store.put_artifact(attempt.candidate.source, "best source"));
    const std::string name = best_source_name(run.options.target);
    QUERN_TRY(store.put_file(name, attempt.candidate.source));
    source_path = store.directory() + "/" + name;
  }
  Json json = to_json(summary, run.options, source_path);
  json["run_directory"] = store.directory();
  json["report_path"] = store.directory() + "/report.html";
  QUERN_TRY(store.set_summary(json));
  QUERN_ASSIGN(std::string html, render_report(store));
  QUERN_TRY(store.put_file("report.html", html));
  return json;
}

Result<int> search_and_report(const Context& context, RunStore& store, Evaluator& evaluator,
                              const TaskAtSize& task) {
  QUERN_ASSIGN(RunRecord run, store.run());
  std::unique_ptr<llm::Models> models;
  if (!run.options.model.empty()) {
    QUERN_ASSIGN(models, open_models(run.options, store.directory()));
  }
  QUERN_ASSIGN(
      std::unique_ptr<Proposer> proposer,
      make_proposer(task, run.options, run.environment, models ? &models->client() : nullptr));
  catch_interrupts();
  ProgressPrinter printer(context);
  SearchParts parts{evaluator, *proposer, store,
                    [&](const Progress& progress) { printer.show(progress); }, interrupted};
  QUERN_ASSIGN(RunSummary summary, run_search(parts));
  printer.clear();
  if (models) say(fmt::format("models: {}\n", spent_text(models->budget())));
  QUERN_ASSIGN(Json json, write_results(store, summary));
  if (context.json) {
    print_json(json);
  } else {
    print(describe(summary, store, best_source_name(run.options.target)));
  }
  return exit_code(summary);
}

/// The recipe, and what it needs of models; all kept with the run.
Result<void> choose_recipe(const OptimizeArguments& arguments, RunOptions& options) {
  options.recipe = recipe_name(arguments.recipe);
  if (arguments.recipe == "rules") {
    if (arguments.model.empty()) return {};
    return Error{ErrorKind::kUsage, "the rules ask no model",
                 "choose a recipe with --recipe (see: quern recipes), or leave --model out"};
  }
  QUERN_ASSIGN(options.recipe_text, recipe_text(arguments.recipe));
  QUERN_TRY(parse_recipe(options.recipe_text, options.recipe));
  if (arguments.model.empty()) {
    return Error{ErrorKind::kUsage, fmt::format("the recipe {} asks a model", options.recipe),
                 "name one with --model PROVIDER/MODEL (docs/models.md)"};
  }
  QUERN_ASSIGN(options.models_text, read_model_settings(arguments.models, arguments.model));
  options.model = arguments.model;
  options.budget_calls = arguments.max_calls;
  options.budget_tokens = arguments.max_tokens;
  options.budget_usd = arguments.max_usd;
  return {};
}

Result<int> optimize(const Context& context, const OptimizeArguments& arguments) {
  RunOptions options;
  options.target = arguments.target;
  options.device = arguments.device;
  options.seed = arguments.seed;
  options.threads = arguments.threads;
  options.compiler = arguments.compiler;
  options.clock = arguments.clock;
  QUERN_TRY(parse_budget(arguments.budget, options));
  QUERN_TRY(check_choice("target", options.target, known_targets()));
  QUERN_TRY(choose_recipe(arguments, options));
  QUERN_ASSIGN(TaskAtSize task, load_task_at(context, arguments.task, arguments.size));
  options.task_name = task.program.name;
  options.task_text = print_task(task.program);
  options.size = task.size;
  QUERN_ASSIGN(std::unique_ptr<Evaluator> evaluator, make_evaluator(context, task, options));
  std::string out = arguments.out;
  if (out.empty()) {
    QUERN_ASSIGN(out, fresh_directory(options.task_name, options.size));
  }
  QUERN_ASSIGN(RunStore store,
               RunStore::create(out, options, evaluator->environment(), evaluator->work()));
  say(fmt::format("{} at size {}, run directory {}\n", options.task_name, options.size, out));
  return search_and_report(context, store, *evaluator, task);
}

Result<int> resume(const Context& context, const std::string& directory,
                   const std::string& budget) {
  QUERN_ASSIGN(RunStore store, RunStore::open(directory));
  QUERN_ASSIGN(RunRecord run, store.run());
  if (!budget.empty()) {
    QUERN_TRY(parse_budget(budget, run.options));
    QUERN_TRY(store.set_budget(run.options));
  }
  QUERN_ASSIGN(TaskAtSize task,
               parse_task_at(run.options.task_text, run.options.task_name, run.options.size));
  QUERN_ASSIGN(std::unique_ptr<Evaluator> evaluator, make_evaluator(context, task, run.options));
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
  app.add_option("TASK", a->task, "A task's name (see: quern tasks) or the path of a .task file")
      ->required();
  app.add_option("--size", a->size, "Size set [cpu where the task has it, else full]");
  app.add_option("--budget", a->budget,
                 "Candidates to try (64), or a time (90s, 5m), or both (64,5m)")
      ->capture_default_str();
  app.add_option("--target", a->target, "Hardware to run on: cpu, opencl, cuda")
      ->capture_default_str();
  app.add_option("--device", a->device, "Which of the target's devices (see: quern doctor)")
      ->capture_default_str();
  app.add_option("--recipe", a->recipe,
                 "Search method: rules, another of `quern recipes`, or a .toml file")
      ->capture_default_str();
  app.add_option("--model", a->model, "Model that a recipe asks: PROVIDER/MODEL");
  app.add_option("--models", a->models, "Servers and prices of models, a JSON file");
  app.add_option("--max-calls", a->max_calls, "Calls of models at most [no limit]");
  app.add_option("--max-tokens", a->max_tokens, "Tokens at most [no limit]");
  app.add_option("--max-usd", a->max_usd, "US dollars at most [no limit]");
  app.add_option("--seed", a->seed, "Seed of every random choice")->capture_default_str();
  app.add_option("--threads", a->threads, "Threads a kernel may use [all]")
      ->check(CLI::Range(1, 4096));
  app.add_option("--compiler", a->compiler, "g++, clang++, or the path of one")
      ->capture_default_str();
  app.add_option("--out", a->out, "Run directory [runs/TASK-SIZE-NUMBER]");
  app.add_option("--clock", a->clock, "steady, or simulated (for tests)")->group("");
  return [a](const Context& context) { return finish(context, optimize(context, *a)); };
}

Action add_resume(CLI::App& app) {
  auto directory = std::make_shared<std::string>();
  auto budget = std::make_shared<std::string>();
  app.add_option("RUN", *directory, "Run directory")->required();
  app.add_option("--budget", *budget, "New budget of the whole run [as it was]");
  return
      [=](const Context& context) { return finish(context, resume(context, *directory, *budget)); };
}

}  // namespace quern::cli
