// SPDX-License-Identifier: Apache-2.0
#include "driver_cell.h"

#include <filesystem>
#include <map>

#include "base/hash.h"
#include "evaluate/driver_fitness.h"
#include "record/json.h"
#include "sample_record.h"

namespace quern::cli {
namespace {

/// What decides a judgement.
std::string key_of(const DriverCell& cell, const OfferedSample& sample) {
  return Hasher()
      .add(sample.source)
      .add(sample.model)
      .add(cell.options.compiler)
      .add(std::to_string(cell.options.threads))
      .hex();
}

Json record_of(const DriverJudgement& judgement) {
  const Timing* timing = timing_of(judgement.verdict);
  return {{"state", verdict_name(judgement.verdict)},
          {"reason", verdict_reason(judgement.verdict)},
          {"speedup", timing ? judgement.duel.speedup : 0},
          {"low", timing ? judgement.duel.low : 0},
          {"high", timing ? judgement.duel.high : 0},
          {"median_ns", timing ? timing->median_ns : 0}};
}

SuiteSample sample_of(const Json& record) {
  SuiteSample sample;
  sample.state = record.value("state", "");
  sample.reason = record.value("reason", "");
  sample.speedup = record.value("speedup", 0.0);
  sample.low = record.value("low", 0.0);
  sample.high = record.value("high", 0.0);
  sample.median_ns = record.value("median_ns", 0.0);
  sample.baseline = sample.passed() ? "best" : "";
  sample.provisional = true;
  return sample;
}

/// What the benchmark's own runs set DRIVER_PROBLEM_SIZE to, by task and model; nothing where it
/// does not say.
Result<std::string> problem_size(const DriverTask& task, const std::string& model) {
  const std::string path =
      std::filesystem::path(task.includes).parent_path() / "problem-sizes.json";
  QUERN_ASSIGN(const Json sizes, load_sample_record(path));
  const std::string name = std::filesystem::path(task.folder).filename();
  return sizes.value(name, Json::object()).value(model, std::string());
}

Result<DriverTask> driver_of(const DriverCell& cell, const std::string& model) {
  DriverTask task;
  task.folder = cell.task.driver;
  task.includes = std::filesystem::path(task.folder).parent_path().parent_path().parent_path();
  QUERN_ASSIGN(const std::string size, problem_size(task, model));
  if (!size.empty()) task.problem_size = size;
  return task;
}

DriverOptions options_of(const DriverCell& cell, const std::string& model) {
  DriverOptions options = cell.options;
  options.openmp = model == "omp";
  return options;
}

Result<Json> judge(const DriverCell& cell, const OfferedSample& sample, std::mutex& machine) {
  QUERN_ASSIGN(const DriverTask task, driver_of(cell, sample.model));
  const std::scoped_lock lock(machine);
  QUERN_ASSIGN(const DriverJudgement judgement,
               judge_driver(task, sample.source, options_of(cell, sample.model)));
  return record_of(judgement);
}

/// Asks once of each prompt whether its driver can tell right from wrong: `samples` of one where it
/// cannot become `unsupported`. False when `stop` cut it short.
Result<bool> set_unfit_aside(const DriverCell& cell, std::mutex& machine, Json& record,
                             std::vector<SuiteSample>& samples, const std::function<bool()>& stop) {
  std::map<std::string, bool> passes;  // by prompt
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].counted()) passes[cell.offered[i]->prompt] |= samples[i].passed();
  }
  for (size_t i = 0; i < samples.size(); ++i) {
    if (!samples[i].counted()) continue;
    const OfferedSample& offered = *cell.offered[i];
    const bool passed = passes[offered.prompt];
    const std::string key =
        Hasher().add("fault").add(offered.prompt).add(passed ? "accepts" : "refuses").hex();
    if (!record.contains(key)) {
      if (stop()) return false;
      QUERN_ASSIGN(const DriverTask task, driver_of(cell, offered.model));
      const std::scoped_lock lock(machine);
      QUERN_ASSIGN(const std::string fault,
                   driver_fault(task, offered.prompt, passed, options_of(cell, offered.model)));
      record[key] = {{"fault", fault}};
      QUERN_TRY(save_sample_record(cell.record, record));
    }
    const std::string fault = record[key].value("fault", "");
    if (fault.empty()) continue;
    samples[i].state = "unsupported";
    samples[i].reason = fault;
    samples[i].speedup = samples[i].low = samples[i].high = 0;
  }
  return true;
}

}  // namespace

Result<bool> run_driver_cell(const DriverCell& cell, std::mutex& machine,
                             std::vector<SuiteSample>& samples, const std::function<bool()>& stop) {
  QUERN_ASSIGN(Json record, load_sample_record(cell.record));
  for (const OfferedSample* offered : cell.offered) {
    SuiteSample sample;
    if (!offered->unsupported.empty() || offered->model.empty()) {
      sample.state = "unsupported";
      sample.reason = offered->unsupported.empty() ? "it is no output of a prompt of the benchmark"
                                                   : offered->unsupported;
    } else {
      const std::string key = key_of(cell, *offered);
      if (!record.contains(key)) {
        if (stop()) return false;
        QUERN_ASSIGN(record[key], judge(cell, *offered, machine));
        QUERN_TRY(save_sample_record(cell.record, record));
      }
      sample = sample_of(record[key]);
    }
    sample.number = offered->number;
    sample.origin = offered->origin;
    sample.source = offered->source;
    samples.push_back(sample);
  }
  return set_unfit_aside(cell, machine, record, samples, stop);
}

}  // namespace quern::cli
