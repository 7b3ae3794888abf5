// SPDX-License-Identifier: Apache-2.0
#include "search/suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "base/strings.h"

namespace quern {
namespace {

using metrics::Failures;
using metrics::Interval;

constexpr uint64_t kSeed = 1;
constexpr double kFastAt[] = {0, 0.5, 0.8, 1, 1.5, 2, 4};
constexpr int kDraws[] = {1, 5, 10, 100};  ///< k of pass@k and the like, beside all samples
constexpr double kCurveLow = 0.25, kCurveHigh = 8;
constexpr int kCurvePoints = 41;

/// One counted task as the measures take it.
struct Measured {
  std::vector<double> speedups;  ///< of its samples; 0: failed
  std::vector<double> times;     ///< the same, the baseline's being 1
  int right = 0;
  double best = 0;
};

std::vector<Measured> measured(const SuiteResult& result) {
  std::vector<Measured> all;
  for (const SuiteRow& row : result.rows) {
    if (!row.counted()) continue;
    Measured& task = all.emplace_back();
    for (const SuiteSample& sample : row.samples) {
      const double speedup = sample.passed() ? sample.speedup : metrics::kFailed;
      task.speedups.push_back(speedup);
      task.times.push_back(speedup > 0 ? 1 / speedup : std::numeric_limits<double>::infinity());
      task.right += sample.passed() ? 1 : 0;
      task.best = std::max(task.best, speedup);
    }
  }
  return all;
}

using OfTask = std::function<double(const Measured&)>;

/// The mean over tasks. A task without samples failed: it adds nothing.
Interval mean(const std::vector<Measured>& tasks, const OfTask& value) {
  std::vector<double> values;
  for (const Measured& task : tasks) values.push_back(task.times.empty() ? 0 : value(task));
  return metrics::bootstrap(
      static_cast<int>(tasks.size()),
      [&](std::span<const int> drawn) {
        double sum = 0;
        for (int i : drawn) sum += values[static_cast<size_t>(i)];
        return sum / static_cast<double>(drawn.size());
      },
      kSeed);
}

Interval geometric(const std::vector<Measured>& tasks, Failures failures) {
  return metrics::bootstrap(
      static_cast<int>(tasks.size()),
      [&](std::span<const int> drawn) {
        std::vector<double> best;
        for (int i : drawn) best.push_back(tasks[static_cast<size_t>(i)].best);
        return metrics::geometric_mean(best, failures).value;
      },
      kSeed);
}

/// What k draws are asked about: those that every task has samples for, and all of them.
std::vector<int> draws_of(int samples) {
  std::vector<int> draws;
  for (int k : kDraws) {
    if (k < samples) draws.push_back(k);
  }
  if (samples > 0) draws.push_back(samples);
  return draws;
}

void add_draws(const std::vector<Measured>& tasks, int k, double resources,
               std::vector<SuiteFigure>& figures) {
  figures.push_back({fmt::format("pass@{}", k), fmt::format("right among {} drawn", k),
                     mean(tasks,
                          [k](const Measured& task) {
                            return metrics::pass_at_k(static_cast<int>(task.times.size()),
                                                      task.right, k);
                          }),
                     true});
  figures.push_back(
      {fmt::format("speedup@{}", k), fmt::format("expected best of {} drawn; failures are 0", k),
       mean(tasks, [k](const Measured& task) { return metrics::speedup_at_k(1, task.times, k); }),
       false});
  figures.push_back({fmt::format("efficiency@{}", k),
                     fmt::format("speedup@{} for each of {:g} threads", k, resources),
                     mean(tasks,
                          [k, resources](const Measured& task) {
                            return metrics::efficiency_at_k(1, task.times, k, resources);
                          }),
                     false});
}

Interval fast(const std::vector<Measured>& tasks, double p, bool best) {
  return mean(tasks, [p, best](const Measured& task) {
    if (best) return metrics::fast_p(std::span(&task.best, 1), p);
    return metrics::fast_p(task.speedups, p);
  });
}

void add_fast(const std::vector<Measured>& tasks, const SuiteScore& score,
              std::vector<SuiteFigure>& figures) {
  for (double p : kFastAt) {
    figures.push_back({fmt::format("fast_{:g}@1", p),
                       fmt::format("right and more than {:g}× the fastest baseline, one drawn", p),
                       fast(tasks, p, false), true});
    if (score.samples <= 1) continue;
    figures.push_back({fmt::format("fast_{:g}@best", p), "the same of each task's best sample",
                       fast(tasks, p, true), true});
  }
}

FastCurve curve_of(const std::vector<Measured>& tasks) {
  FastCurve curve;
  for (int i = 0; i < kCurvePoints; ++i) {
    const double share = static_cast<double>(i) / (kCurvePoints - 1);
    curve.p.push_back(kCurveLow * std::pow(kCurveHigh / kCurveLow, share));
    curve.one.push_back(fast(tasks, curve.p.back(), false));
    curve.best.push_back(fast(tasks, curve.p.back(), true));
  }
  return curve;
}

Json to_json(const Interval& interval) {
  const auto number = [](double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); };
  return {{"value", number(interval.value)},
          {"low", number(interval.low)},
          {"high", number(interval.high)}};
}

Json to_json(const SuiteSample& sample) {
  return {{"number", sample.number},       {"origin", sample.origin},
          {"state", sample.state},         {"reason", sample.reason},
          {"speedup", sample.speedup},     {"speedup_low", sample.low},
          {"speedup_high", sample.high},   {"baseline", sample.baseline},
          {"median_ns", sample.median_ns}, {"roofline", sample.roofline},
          {"attempts", sample.attempts},   {"provisional", sample.provisional}};
}

Json to_json(const SuiteRow& row) {
  Json json = {{"task", row.task.name}, {"level", nullptr},         {"problem_id", nullptr},
               {"size", row.size},      {"outcome", row.outcome()}, {"reason", row.reason()}};
  if (row.task.level > 0) {
    json["level"] = row.task.level;
    json["problem_id"] = row.task.problem;
  }
  const SuiteSample* best = row.best();
  json["best_speedup"] = best != nullptr && best->passed() ? Json(best->speedup) : Json(nullptr);
  json["samples"] = Json::array();
  for (const SuiteSample& sample : row.samples) json["samples"].push_back(to_json(sample));
  return json;
}

Json to_json(const FastCurve& curve) {
  Json json = {{"p", curve.p}, {"one", Json::array()}, {"best", Json::array()}};
  for (const Interval& value : curve.one) json["one"].push_back(to_json(value));
  for (const Interval& value : curve.best) json["best"].push_back(to_json(value));
  return json;
}

}  // namespace

bool SuiteRow::counted() const {
  return task.unsupported.empty() && std::ranges::all_of(samples, &SuiteSample::counted);
}

const SuiteSample* SuiteRow::best() const {
  const SuiteSample* best = nullptr;
  for (const SuiteSample& sample : samples) {
    if (best == nullptr || sample.speedup > best->speedup) best = &sample;
  }
  return best;
}

std::string SuiteRow::outcome() const {
  if (!task.unsupported.empty()) return "unsupported";
  for (const char* state : {"not_run", "unsupported"}) {
    if (std::ranges::find(samples, state, &SuiteSample::state) != samples.end()) return state;
  }
  const SuiteSample* sample = best();
  if (sample == nullptr) return "missing";
  if (!sample->passed()) return "failed";
  if (sample->provisional) return "provisional";
  return sample->low > 1 ? "faster" : "passed";
}

std::string SuiteRow::reason() const {
  const std::string what = outcome();
  if (what == "faster" || what == "passed" || what == "provisional") return "";
  if (what == "missing") return "no sample";
  if (!task.unsupported.empty()) return task.unsupported;
  for (const SuiteSample& sample : samples) {
    if (what == "failed" || sample.state == what) {
      return what == "failed" ? fmt::format("{}: {}", sample.state, sample.reason) : sample.reason;
    }
  }
  return "";
}

SuiteScore score_suite(const SuiteResult& result) {
  SuiteScore score;
  score.tasks = static_cast<int>(result.rows.size());
  for (const SuiteRow& row : result.rows) {
    const std::string outcome = row.outcome();
    score.unsupported += outcome == "unsupported" ? 1 : 0;
    score.not_run += outcome == "not_run" ? 1 : 0;
    score.missing += outcome == "missing" ? 1 : 0;
    const int count = static_cast<int>(row.samples.size());
    if (!row.counted()) continue;
    ++score.counted;
    if (count > 0) score.samples = score.samples == 0 ? count : std::min(score.samples, count);
  }
  const std::vector<Measured> tasks = measured(result);
  if (tasks.empty()) return score;
  for (int k : draws_of(score.samples)) add_draws(tasks, k, result.threads, score.figures);
  add_fast(tasks, score, score.figures);
  score.figures.push_back({"geomean, failures as the baseline", "best samples; a failed task is 1",
                           geometric(tasks, Failures::kAsBaseline), false});
  score.figures.push_back({"geomean, failures excluded",
                           "best samples of the tasks that have a right one",
                           geometric(tasks, Failures::kExcluded), false});
  score.curve = curve_of(tasks);
  return score;
}

Json to_json(const SuiteResult& result, const SuiteScore& score) {
  Json json = {{"suite", result.suite},
               {"candidates", result.candidates},
               {"recipe", result.recipe},
               {"model", result.model},
               {"budget", result.budget},
               {"target", result.target},
               {"clock", result.clock},
               {"threads", result.threads},
               {"environment", to_json(result.environment)}};
  json["tasks"] = {{"all", score.tasks},
                   {"counted", score.counted},
                   {"missing", score.missing},
                   {"unsupported", score.unsupported},
                   {"not_run", score.not_run}};
  json["figures"] = Json::object();
  for (const SuiteFigure& figure : score.figures)
    json["figures"][figure.name] = to_json(figure.value);
  json["fast_p"] = to_json(score.curve);
  json["rows"] = Json::array();
  for (const SuiteRow& row : result.rows) json["rows"].push_back(to_json(row));
  return json;
}

}  // namespace quern
