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

void add_fast(const std::vector<Measured>& tasks, int samples, std::vector<SuiteFigure>& figures) {
  for (double p : kFastAt) {
    figures.push_back({fmt::format("fast_{:g}@1", p),
                       fmt::format("right and more than {:g}× the fastest baseline, one drawn", p),
                       fast(tasks, p, false), true});
    if (samples <= 1) continue;
    figures.push_back({fmt::format("fast_{:g}@best", p), "the same of each task's best sample",
                       fast(tasks, p, true), true});
  }
}

/// Samples that every task with samples has, at least.
int least_samples(const std::vector<Measured>& tasks) {
  int least = 0;
  for (const Measured& task : tasks) {
    const int count = static_cast<int>(task.times.size());
    if (count > 0) least = least == 0 ? count : std::min(least, count);
  }
  return least;
}

std::vector<SuiteFigure> figures_of(const std::vector<Measured>& tasks, int threads) {
  std::vector<SuiteFigure> figures;
  if (tasks.empty()) return figures;
  const int samples = least_samples(tasks);
  for (int k : draws_of(samples)) add_draws(tasks, k, threads, figures);
  add_fast(tasks, samples, figures);
  figures.push_back({"geomean, failures as the baseline", "best samples; a failed task is 1",
                     geometric(tasks, Failures::kAsBaseline), false});
  figures.push_back({"geomean, failures excluded",
                     "best samples of the tasks that have a right one",
                     geometric(tasks, Failures::kExcluded), false});
  return figures;
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
  Json json = {{"number", sample.number},       {"origin", sample.origin},
               {"state", sample.state},         {"reason", sample.reason},
               {"speedup", sample.speedup},     {"speedup_low", sample.low},
               {"speedup_high", sample.high},   {"baseline", sample.baseline},
               {"median_ns", sample.median_ns}, {"roofline", sample.roofline},
               {"attempts", sample.attempts},   {"provisional", sample.provisional}};
  json["nearest_similarity"] = sample.nearest ? Json(*sample.nearest) : Json(nullptr);
  if (sample.kernelbench) {
    json["kernelbench"] = {{"correct", sample.kernelbench->correct()},
                           {"speedup", sample.kernelbench->speedup},
                           {"reason", sample.kernelbench->reason},
                           {"result", sample.kernelbench->result}};
  }
  return json;
}

Json to_json(const std::vector<SuiteFigure>& figures) {
  Json json = Json::object();
  for (const SuiteFigure& figure : figures) json[figure.name] = to_json(figure.value);
  return json;
}

/// `shown`: the row under the protocol asked for; `row`: as it is kept.
Json to_json(const SuiteRow& row, const SuiteRow& shown) {
  Json json = {{"task", row.task.name}, {"level", nullptr},           {"problem_id", nullptr},
               {"size", row.size},      {"outcome", shown.outcome()}, {"reason", shown.reason()}};
  if (row.task.level > 0) {
    json["level"] = row.task.level;
    json["problem_id"] = row.task.problem;
  }
  const SuiteSample* best = shown.best();
  json["best_speedup"] = best != nullptr && best->passed() ? Json(best->speedup) : Json(nullptr);
  json["similarity"] = row.similarity ? Json(*row.similarity) : Json(nullptr);
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
  const SuiteResult shown = under_protocol(result, result.protocol);
  SuiteScore score;
  score.tasks = static_cast<int>(shown.rows.size());
  for (const SuiteRow& row : shown.rows) {
    const std::string outcome = row.outcome();
    score.unsupported += outcome == "unsupported" ? 1 : 0;
    score.not_run += outcome == "not_run" ? 1 : 0;
    score.missing += outcome == "missing" ? 1 : 0;
    score.counted += row.counted() ? 1 : 0;
  }
  const std::vector<Measured> tasks = measured(shown);
  score.samples = least_samples(tasks);
  score.agreement = agreement_of(result);
  score.figures = figures_of(tasks, result.threads);
  if (!tasks.empty()) score.curve = curve_of(tasks);
  if (score.agreement.samples > 0) {
    score.other = figures_of(measured(under_protocol(result, other_protocol(result.protocol))),
                             result.threads);
  }
  return score;
}

Json to_json(const SuiteResult& result, const SuiteScore& score) {
  Json json = {{"suite", result.suite},       {"candidates", result.candidates},
               {"protocol", result.protocol}, {"recipe", result.recipe},
               {"model", result.model},       {"budget", result.budget},
               {"target", result.target},     {"clock", result.clock},
               {"threads", result.threads},   {"environment", to_json(result.environment)}};
  json["tasks"] = {{"all", score.tasks},
                   {"counted", score.counted},
                   {"missing", score.missing},
                   {"unsupported", score.unsupported},
                   {"not_run", score.not_run}};
  json["figures"] = to_json(score.figures);
  if (score.agreement.samples > 0) {
    const Agreement& both = score.agreement;
    json["other_protocol"] = {{"protocol", other_protocol(result.protocol)},
                              {"figures", to_json(score.other)},
                              {"samples", both.samples},
                              {"right_under_both", both.both},
                              {"wrong_under_both", both.neither},
                              {"right_under_kernelbench_only", both.only_kernelbench},
                              {"right_under_strict_only", both.only_strict}};
  }
  json["fast_p"] = to_json(score.curve);
  json["rows"] = Json::array();
  const SuiteResult shown = under_protocol(result, result.protocol);
  for (size_t i = 0; i < result.rows.size(); ++i) {
    json["rows"].push_back(to_json(result.rows[i], shown.rows[i]));
  }
  return json;
}

}  // namespace quern
