// SPDX-License-Identifier: Apache-2.0
#include "lane_cell.h"

#include <fmt/format.h>

#include "base/file.h"
#include "base/hash.h"
#include "sample_record.h"

namespace quern::cli {
namespace {

std::string key_of(const LaneCell& cell, const std::string& module, const std::string& source,
                   const LaneServiceOptions& options) {
  return Hasher()
      .add(source)
      .add(module)
      .add(cell.size)
      .add(options.device)
      .add(options.baselines)
      .add(std::to_string(options.seed))
      .add(std::to_string(options.threads))
      .hex();
}

/// The baseline that leaves a candidate the least speedup: the fastest.
std::string fastest_baseline(const Json& report) {
  std::string fastest;
  if (!report.contains("baselines")) return fastest;
  const Json& baselines = report["baselines"];
  for (const auto& [name, baseline] : baselines.items()) {
    if (fastest.empty() || baseline["speedup"] < baselines[fastest]["speedup"]) fastest = name;
  }
  return fastest;
}

SuiteSample sample_of_report(const Json& report) {
  SuiteSample sample;
  sample.state = report.value("verdict", "");
  sample.reason = report.value("reason", "");
  if (report.contains("breach") && report["breach"].is_string()) {
    sample.reason = report["breach"].get<std::string>() + ": " + sample.reason;
  }
  sample.provisional = report.value("provisional", true);
  if (!sample.passed()) return sample;
  sample.median_ns = report.value("/timing/median_ns"_json_pointer, 0.0);
  sample.baseline = fastest_baseline(report);
  if (sample.baseline.empty()) {
    sample.state = "not_run";
    sample.reason = "it is right, but no baseline could be timed beside it";
    return sample;
  }
  const Json& baseline = report["baselines"][sample.baseline];
  sample.speedup = baseline.value("speedup", 0.0);
  sample.low = baseline.value("speedup_low", 0.0);
  sample.high = baseline.value("speedup_high", 0.0);
  return sample;
}

KernelBenchVerdict verdict_of_theirs(const Json& record) {
  KernelBenchVerdict theirs;
  theirs.result = record.value("result", Json());
  if (theirs.correct()) {
    theirs.speedup = record.value("speedup", 0.0);
    return theirs;
  }
  theirs.reason = record.value("reason", "");
  const Json metadata =
      theirs.result.is_object() ? theirs.result.value("metadata", Json::object()) : Json::object();
  for (const char* key :
       {"compilation_error", "runtime_error", "correctness_issue", "cuda_error", "other_error"}) {
    if (theirs.reason.empty() && metadata.contains(key) && metadata[key].is_string()) {
      theirs.reason = metadata[key];
    }
  }
  if (theirs.reason.empty()) theirs.reason = "not correct";
  return theirs;
}

SuiteSample sample_of(const Json& entry) {
  SuiteSample sample = sample_of_report(entry["strict"]);
  if (entry.contains("kernelbench")) {
    sample.kernelbench = verdict_of_theirs(entry["kernelbench"]);
  }
  return sample;
}

Json missing_protocols(const LaneCell& cell, const Json& entry) {
  Json missing = Json::array();
  if (!entry.contains("strict")) missing.push_back("strict");
  if (cell.kernelbench && !entry.contains("kernelbench")) missing.push_back("kernelbench");
  return missing;
}

SuiteSample not_judged(const char* state, const std::string& reason) {
  SuiteSample sample;
  sample.state = state;
  sample.reason = reason;
  return sample;
}

/// What came back, into the record; a sample where there is nothing to record.
std::optional<SuiteSample> take(const Result<std::optional<Json>>& answer, Json& entry) {
  if (!answer) return not_judged("not_run", answer.error().message);
  const Json& told = **answer;
  if (told.contains("unfit")) return not_judged("unsupported", told["unfit"]);
  if (told.contains("failed")) return not_judged("not_run", told["failed"]);
  entry.update(told);
  if (!entry.contains("strict")) return not_judged("not_run", "the PyTorch lane gave no verdict");
  return std::nullopt;
}

/// The candidate as the lane takes it: a Solution with what makes a module of it.
std::string source_for(const SuiteTask& task, const OfferedSample& sample) {
  if (sample.entry.empty()) return sample.source;
  std::string adapter = sample.fills_outputs ? task.fill_adapter : task.call_adapter;
  static constexpr std::string_view kEntry = "ENTRY";
  const size_t at = adapter.find(kEntry);
  if (at != std::string::npos) adapter.replace(at, kEntry.size(), sample.entry);
  return sample.source + "\n" + adapter;
}

}  // namespace

Result<std::optional<Json>> LaneWorker::ask(const Json& request,
                                            const std::function<bool()>& stop) {
  if (!service_) {
    QUERN_ASSIGN(LaneService started, LaneService::start(context_, options_));
    service_.emplace(std::move(started));
  }
  Result<std::optional<Json>> answer = service_->ask(request, stop);
  if (!answer || !*answer) service_.reset();
  return answer;
}

Result<LaneOutcome> run_lane_cell(const LaneCell& cell, LaneWorker& worker,
                                  const std::function<bool()>& stop) {
  QUERN_ASSIGN(const std::string module, read_file(cell.task.module));
  QUERN_ASSIGN(Json record, load_sample_record(cell.record));
  LaneOutcome outcome;
  for (const OfferedSample* offered : cell.offered) {
    const std::string source = source_for(cell.task, *offered);
    const std::string key = key_of(cell, module, source, worker.options());
    Json entry = record.value(key, Json::object());
    const Json protocols = missing_protocols(cell, entry);
    std::optional<SuiteSample> failed;
    if (!protocols.empty()) {
      const auto answer = worker.ask({{"module", cell.task.module},
                                      {"size", cell.size},
                                      {"source", source},
                                      {"protocols", protocols}},
                                     stop);
      if (answer && !*answer) {
        outcome.ended = false;
        return outcome;
      }
      failed = take(answer, entry);
      if (!failed) {
        record[key] = entry;
        ++outcome.judged;
        QUERN_TRY(save_sample_record(cell.record, record));
      }
    }
    SuiteSample sample = failed ? *failed : sample_of(entry);
    sample.number = offered->number;
    sample.origin = offered->origin;
    sample.source = offered->source;
    if (!failed) outcome.size = entry.value("size", cell.size);
    outcome.samples.push_back(sample);
  }
  return outcome;
}

}  // namespace quern::cli
