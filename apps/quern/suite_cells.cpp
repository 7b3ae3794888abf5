// SPDX-License-Identifier: Apache-2.0
#include "suite_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/file.h"
#include "driver_cell.h"
#include "interrupt.h"
#include "planned_run.h"
#include "search/replay.h"
#include "search/suite_samples.h"
#include "wiring.h"

namespace quern::cli {
namespace {

bool in_lane(const Suite& suite, const SuiteTask& task, const OfferedSample& sample) {
  const bool callable = sample.entry.empty() || !task.call_adapter.empty();
  return sample.language == "python" && sample.unsupported.empty() && callable &&
         !task.module.empty() && suite.options.target != "opencl";
}

Result<PlannedRun> plan(const Suite& suite, const Cell& cell) {
  PlannedRun planned;
  QUERN_ASSIGN(planned.task,
               load_task_at(suite.context, cell.row->task.path, suite.arguments.size));
  planned.options = suite.options;
  set_task(planned.task, planned.options);
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

/// What somebody offers for a task, the first `--samples` of it, for one kind of cell.
std::vector<const OfferedSample*> offered_for(const Suite& suite, const SuiteTask& task,
                                              CellKind kind) {
  std::vector<const OfferedSample*> samples;
  for (const OfferedSample& sample : suite.offered.samples) {
    if (is_for(sample, task)) samples.push_back(&sample);
  }
  std::ranges::stable_sort(samples, {}, &OfferedSample::number);
  const auto limit = static_cast<size_t>(suite.arguments.samples);
  if (limit > 0 && samples.size() > limit) samples.resize(limit);
  std::erase_if(samples, [&](const OfferedSample* sample) {
    return in_lane(suite, task, *sample) != (kind == CellKind::kLane);
  });
  return samples;
}

std::string why_unsupported(const Suite& suite, const SuiteTask& task,
                            const OfferedSample& sample) {
  if (!sample.unsupported.empty()) return sample.unsupported;
  if (sample.language == "python" && !sample.entry.empty() && task.call_adapter.empty()) {
    return "it is a Solution, and the task comes from no Definition";
  }
  if (sample.language == "python") {
    return task.module.empty() ? "it is Python, and only a module of PyTorch judges that: see "
                                 "docs/torch_lane.md"
                               : "it is Python, which runs with --target cpu or cuda";
  }
  if (task.path.empty()) return task.no_task_file;
  if (sample.language == candidate_language(suite.options.target)) return "";
  return fmt::format("it is {}, and the target is {}", sample.language, suite.options.target);
}

Candidate candidate_of(const OfferedSample& sample) {
  Candidate candidate = make_candidate(sample.source, "human", sample.language);
  candidate.note = sample.origin;
  return candidate;
}

SuiteSample unsupported_sample(const OfferedSample& offered, const std::string& reason) {
  SuiteSample sample;
  sample.number = offered.number;
  sample.origin = offered.origin;
  sample.source = offered.source;
  sample.state = "unsupported";
  sample.reason = reason;
  return sample;
}

/// The samples as the record has them; empty where it lacks one.
Result<std::vector<SuiteSample>> recorded_samples(
    const Suite& suite, const PlannedRun& planned, const SuiteTask& task,
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
    SuiteSample made = unsupported_sample(*sample, why_unsupported(suite, task, *sample));
    if (made.reason.empty()) {
      const auto known = sample_of(recorded, candidate_of(*sample).id);
      if (!known) return std::vector<SuiteSample>();
      made = *known;
    }
    made.number = sample->number;
    made.origin = sample->origin;
    made.source = sample->source;
    samples.push_back(made);
  }
  return samples;
}

/// Judges what the record lacks. False when the user stopped it.
Result<bool> judge(Suite& suite, const PlannedRun& planned, const SuiteTask& task,
                   const std::vector<const OfferedSample*>& offered) {
  std::vector<Candidate> candidates;
  for (const OfferedSample* sample : offered) {
    if (why_unsupported(suite, task, *sample).empty()) candidates.push_back(candidate_of(*sample));
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

Result<CellOutcome> run_candidates(Suite& suite, const Cell& cell) {
  const SuiteTask& task = cell.row->task;
  const auto offered = offered_for(suite, task, cell.kind);
  CellOutcome outcome;
  outcome.ended = true;
  if (task.path.empty()) {
    for (const OfferedSample* sample : offered) {
      outcome.samples.push_back(unsupported_sample(*sample, why_unsupported(suite, task, *sample)));
    }
    return outcome;
  }
  QUERN_ASSIGN(PlannedRun planned, plan(suite, cell));
  outcome.size = planned.options.size;
  planned.options.recipe = "candidates";
  planned.options.budget_attempts = static_cast<int>(offered.size());
  QUERN_ASSIGN(outcome.samples, recorded_samples(suite, planned, task, offered));
  if (!outcome.samples.empty()) return outcome;
  QUERN_ASSIGN(outcome.ended, judge(suite, planned, task, offered));
  if (!outcome.ended) return outcome;
  QUERN_ASSIGN(outcome.samples, recorded_samples(suite, planned, task, offered));
  return outcome;
}

/// What is offered for a task that a program of its benchmark judges.
Result<CellOutcome> run_driver(Suite& suite, const Cell& cell) {
  DriverCell driven{cell.row->task, offered_for(suite, cell.row->task, cell.kind), {}, {}};
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

/// What is offered in Python for a module.
Result<CellOutcome> run_lane(Suite& suite, const Cell& cell, LaneWorker& worker) {
  const bool cpu = suite.options.target == "cpu";
  const std::string size =
      suite.arguments.size.empty() ? (cpu ? "cpu" : "full") : suite.arguments.size;
  if (size != "cpu" && size != "full") {
    return Error{ErrorKind::kUsage,
                 fmt::format("modules of PyTorch have no size '{}': give cpu or full", size), ""};
  }
  LaneCell lane{cell.row->task, offered_for(suite, cell.row->task, cell.kind), size,
                directory_of(suite, cell) + ".json", suite.arguments.protocol != "strict"};
  QUERN_ASSIGN(LaneOutcome found, run_lane_cell(lane, worker, [&suite] { return suite.stop(); }));
  suite.judged += found.judged;
  return CellOutcome{found.size, std::move(found.samples), found.ended};
}

Result<CellOutcome> run_search(Suite& suite, const Cell& cell) {
  QUERN_ASSIGN(const PlannedRun planned, plan(suite, cell));
  CellOutcome outcome{planned.options.size, {}, false};
  QUERN_ASSIGN(const std::optional<SuiteSample> sample, searched(suite, planned, cell));
  outcome.ended = sample.has_value();
  if (sample) outcome.samples.push_back(*sample);
  return outcome;
}

SuiteSample not_reached() {
  SuiteSample sample;
  sample.state = "not_run";
  sample.reason = "not reached";
  return sample;
}

}  // namespace

bool Suite::stop() const { return stopped || interrupted(); }

std::string directory_of(const Suite& suite, const Cell& cell) {
  const std::string which = cell.kind == CellKind::kSearch ? fmt::format("s{}", cell.sample)
                            : cell.kind == CellKind::kLane ? "lane"
                                                           : "candidates";
  return fmt::format("{}/runs/{}-{}", suite.arguments.out, cell.row->task.name, which);
}

Result<CellOutcome> run_cell(Suite& suite, const Cell& cell, LaneWorker& lane) {
  switch (cell.kind) {
    case CellKind::kDriver:
      return run_driver(suite, cell);
    case CellKind::kLane:
      return run_lane(suite, cell, lane);
    case CellKind::kCandidates:
      return run_candidates(suite, cell);
    case CellKind::kSearch:
      break;
  }
  return run_search(suite, cell);
}

std::vector<Cell> cells_of(Suite& suite) {
  const bool given = !suite.arguments.candidates.empty();
  std::vector<Cell> cells;
  for (SuiteRow& row : suite.result.rows) {
    SuiteTask& task = row.task;
    if (!given && !task.driver.empty()) {
      task.unsupported = "a driver judges candidates; it is no task to search for";
    } else if (!given && task.path.empty() && task.unsupported.empty()) {
      task.unsupported = task.no_task_file;
    }
    if (!task.unsupported.empty()) continue;
    if (given) {
      const CellKind native = task.driver.empty() ? CellKind::kCandidates : CellKind::kDriver;
      for (CellKind kind : {native, CellKind::kLane}) {
        if (!offered_for(suite, task, kind).empty()) cells.push_back({&row, kind});
      }
      continue;
    }
    const int samples = std::max(1, suite.arguments.samples);
    row.samples.resize(static_cast<size_t>(samples), not_reached());
    for (int sample = 0; sample < samples; ++sample) {
      cells.push_back({&row, CellKind::kSearch, sample});
    }
  }
  return cells;
}

LaneWorker make_lane_worker(const Suite& suite) {
  LaneServiceOptions options;
  options.device =
      suite.options.target == "cuda" ? fmt::format("cuda:{}", suite.options.device) : "cpu";
  options.baselines = suite.arguments.baselines;
  options.machine = suite.arguments.out + "/machine.lock";
  options.seed = suite.options.seed;
  options.threads = suite.options.threads;
  return {suite.context, options};
}

}  // namespace quern::cli
