// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "base/file.h"
#include "base/strings.h"
#include "bench.h"
#include "driver_cell.h"
#include "interrupt.h"
#include "model_options.h"
#include "planned_run.h"
#include "search/replay.h"
#include "search/suite.h"
#include "search/suite_candidates.h"
#include "search/suite_samples.h"
#include "searching.h"
#include "suite_source.h"
#include "task/parse.h"
#include "wiring.h"

namespace quern::cli {
namespace {

constexpr int kLockAttempts = 20;  ///< a tenth of a second apart

struct SuiteArguments {
  SuiteQuery query;
  std::string candidates, recipe, size, target = "cpu", compiler = "g++", clock = "steady",
                                        budget = "64", out, devices;
  ModelArguments models;
  uint64_t seed = 0;
  int samples = 0, jobs = 1, threads = 0, device = 0;
};

/// A suite while it runs. Rows are filled by the thread that holds their cell.
struct Suite {
  const Context& context;
  const SuiteArguments& arguments;
  RunOptions options;
  OfferedSamples offered;
  SuiteResult result;
  std::mutex machine;
  std::mutex telling;
  std::atomic<bool> stopped = false;

  bool stop() const { return stopped || interrupted(); }
};

/// What a cell found; fewer samples than asked for where the user stopped it.
struct CellOutcome {
  std::string size;
  std::vector<SuiteSample> samples;
  bool ended = false;
};

/// One task with one seed, or one task with all its candidates.
struct Cell {
  SuiteRow* row = nullptr;
  int sample = -1;  ///< of a search; -1: candidates
};

SuiteSample not_run(const Error& error) {
  SuiteSample sample;
  sample.state = "not_run";
  sample.reason = error.message;
  return sample;
}

std::string directory_of(const Suite& suite, const Cell& cell) {
  const std::string which = cell.sample < 0 ? "candidates" : fmt::format("s{}", cell.sample);
  return fmt::format("{}/runs/{}-{}", suite.arguments.out, cell.row->task.name, which);
}

Result<PlannedRun> plan(const Suite& suite, const Cell& cell) {
  PlannedRun planned;
  QUERN_ASSIGN(planned.task,
               load_task_at(suite.context, cell.row->task.path, suite.arguments.size));
  planned.options = suite.options;
  planned.options.task_name = planned.task.program.name;
  planned.options.task_text = print_task(planned.task.program);
  planned.options.size = planned.task.size;
  planned.options.seed += static_cast<uint64_t>(std::max(0, cell.sample));
  planned.directory = directory_of(suite, cell);
  planned.devices = suite.arguments.devices;
  return planned;
}

Sharing sharing_of(Suite& suite) { return {&suite.machine, suite.arguments.jobs > 1, ""}; }

/// The best kernel of one search. Nothing when the user stopped it.
Result<std::optional<SuiteSample>> searched(Suite& suite, const PlannedRun& planned,
                                            const Cell& cell) {
  QUERN_ASSIGN(const bool ended, make_run(suite.context, planned, sharing_of(suite)));
  if (!ended) return std::optional<SuiteSample>();
  QUERN_ASSIGN(RunStore store, RunStore::read(planned.directory));
  QUERN_ASSIGN(const RunRecord run, store.run());
  SuiteSample sample = sample_of_search(run);
  sample.number = cell.sample;
  sample.origin = planned.directory;
  return std::optional(sample);
}

/// What somebody offers for a task, the first `--samples` of it.
std::vector<const OfferedSample*> offered_for(const Suite& suite, const SuiteTask& task) {
  std::vector<const OfferedSample*> samples;
  for (const OfferedSample& sample : suite.offered.samples) {
    if (is_for(sample, task)) samples.push_back(&sample);
  }
  std::ranges::stable_sort(samples, {}, &OfferedSample::number);
  const auto limit = static_cast<size_t>(suite.arguments.samples);
  if (limit > 0 && samples.size() > limit) samples.resize(limit);
  return samples;
}

std::string why_unsupported(const Suite& suite, const OfferedSample& sample) {
  if (!sample.unsupported.empty()) return sample.unsupported;
  if (sample.language == candidate_language(suite.options.target)) return "";
  return fmt::format("it is {}, and the target is {}", sample.language, suite.options.target);
}

Candidate candidate_of(const OfferedSample& sample) {
  Candidate candidate = make_candidate(sample.source, "human", sample.language);
  candidate.note = sample.origin;
  return candidate;
}

/// The samples as the record has them; empty where it lacks one.
Result<std::vector<SuiteSample>> recorded_samples(
    const Suite& suite, const PlannedRun& planned,
    const std::vector<const OfferedSample*>& offered) {
  RecordedRun recorded;
  if (file_exists(planned.directory + "/run.db")) {
    QUERN_ASSIGN(RunStore store, RunStore::read(planned.directory));
    QUERN_ASSIGN(recorded, load_recorded(store));
    RunOptions there = recorded.run.options;
    there.budget_attempts = planned.options.budget_attempts;
    QUERN_TRY(check_same(planned, there));
  }
  std::vector<SuiteSample> samples;
  for (const OfferedSample* sample : offered) {
    SuiteSample made;
    made.state = "unsupported";
    made.reason = why_unsupported(suite, *sample);
    if (made.reason.empty()) {
      const auto known = sample_of(recorded, candidate_of(*sample).id);
      if (!known) return std::vector<SuiteSample>();
      made = *known;
    }
    made.number = sample->number;
    made.origin = sample->origin;
    samples.push_back(made);
  }
  return samples;
}

/// Judges what the record lacks. False when the user stopped it.
Result<bool> judge(Suite& suite, const PlannedRun& planned,
                   const std::vector<const OfferedSample*>& offered) {
  std::vector<Candidate> candidates;
  for (const OfferedSample* sample : offered) {
    if (why_unsupported(suite, *sample).empty()) candidates.push_back(candidate_of(*sample));
  }
  QUERN_ASSIGN(std::unique_ptr<Evaluator> evaluator,
               make_shared_evaluator(suite.context, planned, sharing_of(suite)));
  const bool begun = file_exists(planned.directory + "/run.db");
  QUERN_ASSIGN(RunStore store, begun
                                   ? RunStore::open(planned.directory)
                                   : RunStore::create(planned.directory, planned.options,
                                                      evaluator->environment(), evaluator->work()));
  return judge_samples(store, *evaluator, candidates, [&suite] { return suite.stop(); });
}

Result<CellOutcome> run_candidates(Suite& suite, PlannedRun planned, const SuiteTask& task) {
  CellOutcome outcome{planned.options.size, {}, true};
  const auto offered = offered_for(suite, task);
  if (offered.empty()) return outcome;
  planned.options.recipe = "candidates";
  planned.options.budget_attempts = static_cast<int>(offered.size());
  QUERN_ASSIGN(outcome.samples, recorded_samples(suite, planned, offered));
  if (!outcome.samples.empty()) return outcome;
  QUERN_ASSIGN(outcome.ended, judge(suite, planned, offered));
  if (!outcome.ended) return outcome;
  QUERN_ASSIGN(outcome.samples, recorded_samples(suite, planned, offered));
  return outcome;
}

/// What is offered for a task that a program of its benchmark judges.
Result<CellOutcome> run_driver(Suite& suite, const Cell& cell) {
  DriverCell driven{cell.row->task, offered_for(suite, cell.row->task), {}, {}};
  driven.options.scratch = suite.context.cache_directory + "/drivers";
  driven.options.compiler = suite.options.compiler;
  driven.options.threads =
      suite.options.threads > 0 ? suite.options.threads : available_processors();
  driven.record = directory_of(suite, cell) + ".json";
  CellOutcome outcome;
  QUERN_ASSIGN(outcome.ended, run_driver_cell(driven, suite.machine, outcome.samples,
                                              [&suite] { return suite.stop(); }));
  return outcome;
}

Result<CellOutcome> run_cell(Suite& suite, const Cell& cell) {
  if (!cell.row->task.driver.empty()) return run_driver(suite, cell);
  QUERN_ASSIGN(PlannedRun planned, plan(suite, cell));
  if (cell.sample < 0) return run_candidates(suite, std::move(planned), cell.row->task);
  CellOutcome outcome{planned.options.size, {}, false};
  QUERN_ASSIGN(const std::optional<SuiteSample> sample, searched(suite, planned, cell));
  outcome.ended = sample.has_value();
  if (sample) outcome.samples.push_back(*sample);
  return outcome;
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
  if (cell.sample < 0) {
    cell.row->samples = samples;
  } else if (!samples.empty()) {
    cell.row->samples[static_cast<size_t>(cell.sample)] = samples.front();
  }
  const SuiteSample* best = cell.row->best();
  const std::string reason = cell.row->reason();
  say(fmt::format("{:<40} {:<11} {}\n", cell.row->task.name, cell.row->outcome(),
                  reason.empty() && best != nullptr ? fmt::format("{:.2f}×", best->speedup)
                                                    : shorten(reason, 120)));
  return {};
}

/// All cells, by `--jobs` threads. Errors: the first that concerns the whole suite.
Result<void> run_cells(Suite& suite, const std::vector<Cell>& cells) {
  std::atomic<size_t> next = 0;
  Result<void> failure;
  const auto work = [&] {
    for (size_t i = next++; i < cells.size() && !suite.stop(); i = next++) {
      const Result<void> ended = finish_cell(suite, cells[i], run_cell(suite, cells[i]));
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

std::vector<Cell> cells_of(Suite& suite) {
  const bool given = !suite.arguments.candidates.empty();
  std::vector<Cell> cells;
  for (SuiteRow& row : suite.result.rows) {
    if (!row.task.driver.empty() && !given) {
      row.task.unsupported = "a driver judges candidates; it is no task to search for";
    }
    if (!row.task.unsupported.empty()) continue;
    if (given) {
      cells.push_back({&row, -1});
      continue;
    }
    const int samples = std::max(1, suite.arguments.samples);
    row.samples.resize(static_cast<size_t>(samples),
                       not_run({ErrorKind::kInterrupted, "not reached", ""}));
    for (int sample = 0; sample < samples; ++sample) cells.push_back({&row, sample});
  }
  return cells;
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
  QUERN_ASSIGN(const std::vector<SuiteTask> tasks, load_suite(suite.context, arguments.query));
  for (const SuiteTask& task : tasks) result.rows.emplace_back().task = task;
  result.suite = arguments.query.suite;
  result.candidates = arguments.candidates;
  result.target = arguments.target;
  result.clock = arguments.clock;
  tell_unused(suite);
  return {};
}

/// The machine, from any run that there is.
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

Result<int> bench_suite(const Context& context, SuiteArguments arguments) {
  QUERN_TRY(check_suite(arguments.query));
  if (arguments.out.empty()) {
    std::string name(trim(arguments.query.suite));
    while (name.ends_with('/')) name.pop_back();
    arguments.out = "bench-" + name.substr(name.rfind('/') + 1);
  }
  QUERN_TRY(make_directories(arguments.out + "/runs"));
  QUERN_ASSIGN(const DirectoryLock lock, lock_folder(arguments.out));
  arguments.query.imported = arguments.out + "/tasks";
  catch_interrupts();
  Suite suite{context, arguments};
  QUERN_TRY(prepare(suite));
  const std::vector<Cell> cells = cells_of(suite);
  QUERN_TRY(run_cells(suite, cells));
  QUERN_TRY(read_environment(suite, cells));
  if (suite.stop()) {
    say("interrupted; the same command goes on with it\n");
    return kInterrupted;
  }
  const SuiteScore score = score_suite(suite.result);
  const std::string page = arguments.out + "/report.html";
  QUERN_TRY(write_file_atomic(page, render_suite(suite.result, score)));
  Json json = to_json(suite.result, score);
  QUERN_TRY(write_file_atomic(arguments.out + "/results.json", dump(json, 1) + "\n"));
  if (context.json) {
    json["report_path"] = page;
    print_json(json);
  } else {
    print(table_text(suite.result, score) + fmt::format("  report   {}\n", page));
  }
  return score.not_run > 0 ? kEnvironmentError : kImproved;
}

void add_suite_options(CLI::App& app, const std::shared_ptr<SuiteArguments>& a) {
  app.add_option("SUITE", a->query.suite,
                 "`starter`, a folder of .task files, or a folder or .jsonl of PyTorch modules");
  app.add_option("--candidates", a->candidates,
                 "Judge these instead of searching: a folder, a .jsonl of samples, a Solution");
  app.add_option("--only", a->query.only, "Only these tasks: names, or LEVEL/ID; repeatable");
  app.add_option("--recipe", a->recipe, "Search method: one of `quern recipes`, or a file [quern]");
  app.add_option("--budget", a->budget, "Candidates to try for a sample (64), a time (5m), or both")
      ->capture_default_str();
  app.add_option("--samples", a->samples, "Searches a task [1], or candidates of each [all]")
      ->check(CLI::Range(1, 10000));
  app.add_option("--jobs", a->jobs,
                 "Searches at a time; kernels are compiled and timed by one at a time")
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
