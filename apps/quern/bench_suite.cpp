// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "base/strings.h"
#include "bench.h"
#include "device/cpu/toolchain.h"
#include "interrupt.h"
#include "model_options.h"
#include "progress.h"
#include "search/suite.h"
#include "search/suite_candidates.h"
#include "search/suite_similarity.h"
#include "searching.h"
#include "suite_cells.h"
#include "wiring.h"

namespace quern::cli {
namespace {

constexpr int kLockAttempts = 20;  ///< a tenth of a second apart

SuiteSample not_run(const Error& error) {
  SuiteSample sample;
  sample.state = "not_run";
  sample.reason = error.message;
  return sample;
}

/// Takes what a cell found into its row. A usage error is one of the whole suite; whatever else
/// fails concerns this task alone.
Result<void> finish_cell(Suite& suite, const Cell& cell, const Result<CellOutcome>& done) {
  const std::scoped_lock lock(suite.telling);
  std::vector<SuiteSample> samples;
  if (done) {
    if (!done->ended) suite.stopped = true;
    cell.row->size = done->size;
    samples = done->samples;
  } else if (done.error().kind == ErrorKind::kUsage || done.error().kind == ErrorKind::kBusy) {
    suite.stopped = true;
    return done.error();
  } else {
    samples = {not_run(done.error())};
  }
  SuiteRow& row = *cell.row;
  if (cell.kind != CellKind::kSearch) {
    row.samples.insert(row.samples.end(), samples.begin(), samples.end());
    std::ranges::stable_sort(row.samples, {}, &SuiteSample::number);
  } else if (!samples.empty()) {
    row.samples[static_cast<size_t>(cell.sample)] = samples.front();
  }
  const SuiteSample* best = row.best();
  const std::string reason = row.reason();
  say(fmt::format("{:<40} {:<11} {}\n", row.task.name, row.outcome(),
                  reason.empty() && best != nullptr ? fmt::format("{:.2f}×", best->speedup)
                                                    : shorten(reason, 120)));
  return {};
}

/// All cells, by `--jobs` threads. Errors: the first that concerns the whole suite.
Result<void> run_cells(Suite& suite, const std::vector<Cell>& cells) {
  std::atomic<size_t> next = 0;
  Result<void> failure;
  const auto work = [&] {
    LaneWorker lane = make_lane_worker(suite);
    for (size_t i = next++; i < cells.size() && !suite.stop(); i = next++) {
      const Result<void> ended = finish_cell(suite, cells[i], run_cell(suite, cells[i], lane));
      const std::scoped_lock lock(suite.telling);
      if (!ended && failure) failure = ended;
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < suite.arguments.jobs; ++i) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
  return failure;
}

/// Kernels have the machine to themselves while they are judged, candidates in Python only while
/// they are timed: first the ones, then the others.
Result<void> run_all(Suite& suite, const std::vector<Cell>& cells) {
  for (const bool in_lane : {false, true}) {
    std::vector<Cell> phase;
    for (const Cell& cell : cells) {
      if ((cell.kind == CellKind::kLane) == in_lane) phase.push_back(cell);
    }
    QUERN_TRY(run_cells(suite, phase));
  }
  return {};
}

/// Samples of a task that bear the same number, from different folders: all of them count.
void tell_twins(const Suite& suite) {
  std::vector<std::string> twins;
  for (const SuiteRow& row : suite.result.rows) {
    std::set<int> numbers;
    for (const OfferedSample& sample : suite.offered.samples) {
      if (is_for(sample, row.task) && !numbers.insert(sample.number).second) {
        twins.push_back(sample.origin);
      }
    }
  }
  if (twins.empty()) return;
  say(
      fmt::format("note: {} samples bear the number of another one of their task, and count beside "
                  "it: {}\n",
                  twins.size(), shorten(join(twins, ", "), 300)));
}

/// Candidates that are for no task, and files that hold none: said, never dropped in silence.
void tell_unused(const Suite& suite) {
  std::vector<std::string> unused = suite.offered.ignored;
  for (const OfferedSample& sample : suite.offered.samples) {
    const bool used = std::ranges::any_of(
        suite.result.rows, [&](const SuiteRow& row) { return is_for(sample, row.task); });
    if (!used) unused.push_back(sample.origin);
  }
  if (unused.empty()) return;
  say(fmt::format("note: {} files or lines hold no candidate for a task of the suite: {}\n",
                  unused.size(), shorten(join(unused, ", "), 300)));
}

Result<void> prepare(Suite& suite) {
  const SuiteArguments& arguments = suite.arguments;
  RunOptions& options = suite.options;
  options.target = arguments.target;
  options.device = arguments.device;
  options.seed = arguments.seed;
  options.threads = arguments.threads;
  options.compiler = arguments.compiler;
  options.clock = arguments.clock;
  SuiteResult& result = suite.result;
  if (!arguments.candidates.empty()) {
    QUERN_ASSIGN(suite.offered, read_offered(arguments.candidates));
  } else {
    QUERN_TRY(parse_budget(arguments.budget, options));
    QUERN_TRY(choose_recipe(arguments.recipe, arguments.models, options));
    result.recipe = options.recipe;
    result.model = options.model;
    result.budget = arguments.budget;
  }
  SuiteQuery query = arguments.query;
  if (!arguments.candidates.empty()) query.offered = &suite.offered;
  QUERN_ASSIGN(const std::vector<SuiteTask> tasks, load_suite(suite.context, query));
  for (const SuiteTask& task : tasks) result.rows.emplace_back().task = task;
  result.suite = arguments.query.suite;
  result.candidates = arguments.candidates;
  result.target = arguments.target;
  result.clock = arguments.clock;
  result.protocol = arguments.protocol == "kernelbench" ? "kernelbench" : "strict";
  tell_unused(suite);
  tell_twins(suite);
  return {};
}

/// The machine, from any run that there is, else as the processor says.
Result<void> read_environment(Suite& suite, const std::vector<Cell>& cells) {
  suite.result.threads = suite.options.threads > 0 ? suite.options.threads : available_processors();
  for (const Cell& cell : cells) {
    const std::string directory = directory_of(suite, cell);
    if (!file_exists(directory + "/run.db")) continue;
    QUERN_ASSIGN(RunStore store, RunStore::read(directory));
    QUERN_ASSIGN(const RunRecord run, store.run());
    suite.result.environment = run.environment;
    suite.result.threads = run.environment.threads;
    return {};
  }
  suite.result.environment.cpu = this_processor().model;
  return {};
}

/// A process that was killed lets go of its folder only when its memory is gone.
Result<DirectoryLock> lock_folder(const std::string& folder) {
  for (int attempt = 0;; ++attempt) {
    Result<DirectoryLock> lock = DirectoryLock::acquire(folder);
    if (lock || lock.error().kind != ErrorKind::kBusy || attempt >= kLockAttempts) return lock;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

std::string default_folder(const std::string& suite) {
  std::string name(trim(suite));
  while (name.ends_with('/')) name.pop_back();
  return "bench-" + name.substr(name.rfind('/') + 1);
}

/// What KernelBench's own scripts read, a folder for each level: `eval_results.json`.
Result<void> write_eval_results(const Suite& suite) {
  std::map<int, std::map<int, Json>> levels;
  for (const SuiteRow& row : suite.result.rows) {
    for (const SuiteSample& sample : row.samples) {
      if (!sample.kernelbench || !sample.kernelbench->result.is_object()) continue;
      Json entry = {{"sample_id", sample.number}};
      for (const char* key : {"compiled", "correctness", "metadata", "runtime", "runtime_stats"}) {
        entry[key] = sample.kernelbench->result.value(key, Json());
      }
      levels[row.task.level][row.task.problem].push_back(std::move(entry));
    }
  }
  for (const auto& [level, problems] : levels) {
    const std::string folder = fmt::format("{}/kernelbench/level_{}", suite.arguments.out, level);
    QUERN_TRY(make_directories(folder));
    Json json = Json::object();
    for (const auto& [problem, samples] : problems) json[std::to_string(problem)] = samples;
    QUERN_TRY(write_file_atomic(folder + "/eval_results.json", dump(json, 4) + "\n"));
  }
  return {};
}

Result<int> finish(Suite& suite) {
  for (SuiteRow& row : suite.result.rows) add_similarity(row);
  const SuiteScore score = score_suite(suite.result);
  const std::string& out = suite.arguments.out;
  const std::string page = out + "/report.html";
  QUERN_TRY(write_file_atomic(page, render_suite(suite.result, score)));
  Json json = to_json(suite.result, score);
  QUERN_TRY(write_file_atomic(out + "/results.json", dump(json, 1) + "\n"));
  QUERN_TRY(write_eval_results(suite));
  if (suite.context.json) {
    json["report_path"] = page;
    print_json(json);
  } else {
    print(table_text(suite.result, score) + fmt::format("  report   {}\n", page));
  }
  return score.not_run > 0 ? kEnvironmentError : kImproved;
}

Result<int> bench_suite(const Context& context, SuiteArguments arguments) {
  QUERN_TRY(check_suite(arguments.query));
  if (arguments.out.empty()) arguments.out = default_folder(arguments.query.suite);
  QUERN_TRY(make_directories(arguments.out + "/runs"));
  QUERN_ASSIGN(const DirectoryLock lock, lock_folder(arguments.out));
  arguments.query.imported = arguments.out + "/tasks";
  catch_interrupts();
  Suite suite{context, arguments, {}, {}, {}, {}, {}};
  QUERN_TRY(prepare(suite));
  const std::vector<Cell> cells = cells_of(suite);
  const int64_t start = steady_now_ns();
  QUERN_TRY(run_all(suite, cells));
  if (suite.judged > 0) {
    say(fmt::format("{} candidates in Python judged in {}\n", suite.judged.load(),
                    format_seconds(seconds_between(start, steady_now_ns()))));
  }
  QUERN_TRY(read_environment(suite, cells));
  if (suite.stop()) {
    say("interrupted; the same command goes on with it\n");
    return kInterrupted;
  }
  return finish(suite);
}

void add_suite_options(CLI::App& app, const std::shared_ptr<SuiteArguments>& a) {
  app.add_option(
      "SUITE", a->query.suite,
      "`starter`, a folder of .task files, a folder or .jsonl of PyTorch modules, a folder "
      "of Definitions, or ParEval's");
  app.add_option("--candidates", a->candidates,
                 "Judge these instead of searching: a folder, a .jsonl of samples, a Solution");
  app.add_option("--only", a->query.only, "Only these tasks: names, or LEVEL/ID; repeatable");
  app.add_option("--protocol", a->protocol,
                 "Of candidates in PyTorch: strict; kernelbench: figures of theirs, ours beside\n"
                 "them; both: figures of ours, theirs beside them")
      ->check(CLI::IsMember({"strict", "kernelbench", "both"}))
      ->capture_default_str();
  app.add_option("--baselines", a->baselines,
                 "Of candidates in PyTorch: eager, compile, max-autotune; with commas between;\n"
                 "speedups are over the fastest")
      ->capture_default_str();
  app.add_option("--recipe", a->recipe, "Search method: one of `quern recipes`, or a file [quern]");
  app.add_option("--budget", a->budget, "Candidates to try for a sample (64), a time (5m), or both")
      ->capture_default_str();
  app.add_option("--samples", a->samples, "Searches a task [1], or candidates of each [all]")
      ->check(CLI::Range(1, 10000));
  app.add_option(
         "--jobs", a->jobs,
         "Searches or PyTorch modules at a time; kernels are compiled and timed by one at a\n"
         "time, candidates in PyTorch timed so")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--size", a->size, "Size set [cpu where the task has it, else full]");
  app.add_option("--target", a->target, "Hardware to run on: cpu, opencl, cuda")
      ->capture_default_str();
  add_devices_option(app, a->devices);
  app.add_option("--device", a->device, "Which of the target's devices (see: quern doctor)")
      ->capture_default_str();
  app.add_option("--out", a->out,
                 "Folder of runs and results; what is there is not done again "
                 "[bench-SUITE]");
  add_model_options(app, a->models);
  app.add_option("--seed", a->seed, "Seed of the first sample; the others count on")
      ->capture_default_str();
  app.add_option("--threads", a->threads, "Threads a kernel may use [all]")
      ->check(CLI::Range(1, 4096));
  app.add_option("--compiler", a->compiler, "g++, clang++, or the path of one")
      ->capture_default_str();
  app.add_flag("--widen", a->query.widen, "16-bit floats of Definitions become 32-bit ones");
  app.add_option("--clock", a->clock, "steady, or simulated (for tests)")->group("");
}

}  // namespace

Action add_bench_suite(CLI::App& app) {
  auto a = std::make_shared<SuiteArguments>();
  add_suite_options(app, a);
  return [a, &app](const Context& context) {
    a->devices = devices_to_use(a->devices, app.count("--device") > 0, a->target);
    if (a->query.suite.empty()) {
      return fail(context, {ErrorKind::kUsage, "what is to be run?", "see: quern bench --help"});
    }
    const Result<int> code = bench_suite(context, *a);
    return code ? *code : fail(context, code.error());
  };
}

}  // namespace quern::cli
