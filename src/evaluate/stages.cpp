// SPDX-License-Identifier: Apache-2.0
#include "evaluate/stages.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <set>
#include <utility>

#include "base/clock.h"
#include "base/hash.h"

namespace quern {
namespace {

constexpr const char* kTimedShape = "timed shape";
/// Buffers of the timed slots together; more slots make small tasks harder to memoise.
constexpr size_t kSlotBytes = size_t{64} << 20;
constexpr int kMostSlots = 4;

/// A number in [0, 1) that depends on the text alone.
double hash_unit(const std::string& text) {
  return static_cast<double>(std::stoull(sha256_hex(text).substr(0, 13), nullptr, 16)) * 0x1p-52;
}

}  // namespace

Outcome<Done> verify_hidden(RunnableKernel& kernel, Evaluation& evaluation) {
  const int slots = kernel.slots();
  std::vector<std::byte> first;
  for (int round = 0; round < 2; ++round) {
    if (round > 0) kernel.poison();
    auto ran = kernel.run(slots);
    evaluation.stages_ms["kernel"] += ran ? *ran * 1e-6 : 0;
    if (!ran) return pass_on(ran);
    if (round == 0) {
      auto checked = kernel.verify(slots, "hidden shape", &evaluation.checks);
      if (!checked) return checked;
    }
    auto outputs = kernel.outputs(slots);
    if (!outputs) return pass_on(outputs);
    if (round == 0) {
      first = std::move(*outputs);
    } else if (first != *outputs) {
      return two_runs_differ(kernel.workload());
    }
  }
  return Done{};
}

Verdict two_runs_differ(const Workload& workload) {
  return WrongResult{"two runs on the same inputs differ",
                     "on " + workload.name +
                         ": results depend on timing, on memory that was never written, or on "
                         "state kept between calls"};
}

Outcome<double> verify_timed(RunnableKernel& kernel, bool trusted, Evaluation& evaluation) {
  double call_ns = 0;
  for (int data = static_cast<int>(kernel.workload().datasets.size()); data-- > 0;) {
    if (data == kernel.workload().twin || (trusted && data > 0)) continue;
    kernel.load(0, data);
    kernel.poison(0);
    auto ran = kernel.run(1);  // begins with slot 0
    if (!ran) return ran;
    call_ns = *ran;
    auto checked = kernel.verify(1, kTimedShape, &evaluation.checks);
    if (!checked) return pass_on(checked);
  }
  return call_ns;
}

Outcome<Timing> take_time(RunnableKernel& kernel, double call_ns, double incumbent_ns,
                          const TimingPolicy& policy, uint64_t seed) {
  // Every slot starts from the declared distribution; its twin is first seen in timed launches.
  for (int slot = 0; slot < kernel.slots(); ++slot) kernel.load(slot, 0);
  return time_kernel(kernel, call_ns, incumbent_ns, policy, seed);
}

std::string level_of(const std::vector<Check>& checks) {
  std::string level = checks.empty() ? "V0" : "V1";
  for (const Check& check : checks) {
    if (check.name.starts_with(kTimedShape) && check.level == "V2") level = "V2";
  }
  return level;
}

std::string method_of(const std::vector<Check>& checks, const std::string& level) {
  const auto exact = std::ranges::count_if(checks, [](const Check& c) { return c.level == "V2"; });
  std::string text = fmt::format("{} comparisons with the f64 oracle within the rounding bound",
                                 checks.size() - static_cast<size_t>(exact));
  if (level == "V2") text += fmt::format(", {} exact probes bit for bit", exact);
  return text + ", two runs bitwise equal, outputs of timed launches checked";
}

bool beats_floor(double median_ns, const Work& work) {
  return work.floor_ns > 0 && median_ns > 0 && median_ns < kFloorAlarm * work.floor_ns;
}

void weigh_time(double median_ns, const Work& work, Evaluation& evaluation) {
  if (work.floor_ns <= 0 || median_ns <= 0) return;
  evaluation.roofline = work.floor_ns / median_ns;
  if (beats_floor(median_ns, work) && work.bound == kMemoryBound) {
    evaluation.alarm =
        fmt::format("faster than the physics floor of {:.0f} ns ({}): not a record until explained",
                    work.floor_ns, work.bound);
  }
}

Timing hashed_timing(const Candidate& candidate) {
  Timing timing;
  timing.median_ns = 1e6 * (0.2 + hash_unit(candidate.id));
  timing.low_ns = timing.high_ns = timing.median_ns;
  timing.samples_ns = {timing.median_ns};
  timing.clock = "simulated";
  return timing;
}

Duel hashed_duel(const Candidate& candidate, const Candidate& baseline) {
  Duel duel;
  duel.candidate_ns = {hashed_timing(candidate).median_ns};
  duel.baseline_ns = {hashed_timing(baseline).median_ns};
  duel.speedup = duel.low = duel.high = duel.baseline_ns[0] / duel.candidate_ns[0];
  duel.rounds = duel.pairs = 1;
  duel.different = duel.speedup != 1;
  duel.baseline = baseline_name(baseline);
  return duel;
}

std::string baseline_name(const Candidate& baseline) {
  return baseline.note.empty() ? baseline.id : baseline.note;
}

int timed_slots(double io_bytes) {
  const auto bytes = static_cast<size_t>(io_bytes) + 1;
  return static_cast<int>(std::clamp<size_t>(kSlotBytes / bytes, 1, kMostSlots));
}

double ms_since(int64_t start_ns) { return seconds_between(start_ns, steady_now_ns()) * 1e3; }

Result<void> record_judged(const Outcome<Passed>& judged, const Candidate& candidate,
                           const std::string& clock,
                           const std::function<Result<void>(double median_ns)>& weigh,
                           Evaluation& evaluation) {
  if (judged.has_error()) return judged.error();
  if (judged.has_verdict()) {
    evaluation.verdict = judged.verdict();
    return {};
  }
  Passed passed = judged.value();
  if (clock == "simulated") {
    passed.timing = hashed_timing(candidate);
  } else {
    QUERN_TRY(weigh(passed.timing.median_ns));
  }
  evaluation.verdict = std::move(passed);
  return {};
}

void record_times(int64_t start_ns, double compile_ms, Evaluation& evaluation) {
  const double run_ms = ms_since(start_ns);
  evaluation.stages_ms["total"] = run_ms + compile_ms;
  evaluation.stages_ms["overhead"] = run_ms - evaluation.stages_ms["kernel"];
}

namespace {

/// What a batch still has to answer, in order.
struct BatchQueue {
  struct Waiting {
    Candidate candidate;
    std::optional<size_t> index;  ///< among those that were prepared
  };
  std::deque<Waiting> waiting;
  std::set<std::string> ids;  ///< of those that were prepared
  size_t prepared = 0;

  Result<void> take_in(const std::vector<Candidate>& candidates,
                       const std::map<std::string, Evaluation>& cache, const BatchStages& stages) {
    std::vector<Candidate> fresh;
    for (const Candidate& candidate : candidates) {
      const bool known = cache.contains(candidate.id) || !ids.insert(candidate.id).second;
      waiting.push_back({candidate, known ? std::nullopt : std::optional(prepared++)});
      if (!known) fresh.push_back(candidate);
    }
    return fresh.empty() ? Result<void>() : stages.prepare(fresh);
  }
};

}  // namespace

Result<std::vector<Evaluation>> evaluate_batch(const std::vector<Candidate>& candidates,
                                               const EvaluateRequest& request,
                                               std::map<std::string, Evaluation>& cache,
                                               const BatchStages& stages) {
  BatchQueue queue;
  QUERN_TRY(queue.take_in(candidates, cache, stages));
  std::vector<Evaluation> evaluations;
  while (!(request.stop && request.stop())) {
    if (stages.grows && request.more) {
      QUERN_TRY(queue.take_in(request.more(queue.waiting.size()), cache, stages));
    }
    if (queue.waiting.empty()) break;
    const BatchQueue::Waiting next = std::move(queue.waiting.front());
    queue.waiting.pop_front();
    const int64_t start = steady_now_ns();
    const auto known = cache.find(next.candidate.id);
    if (known != cache.end()) {
      evaluations.push_back(known->second);
      evaluations.back().cached = true;
      evaluations.back().stages_ms = {{"total", ms_since(start)}};
    } else {
      QUERN_CHECK(next.index.has_value(), "a candidate was neither cached nor prepared");
      QUERN_ASSIGN(Evaluation evaluation, stages.evaluate(next.candidate, *next.index));
      cache[next.candidate.id] = evaluation;
      evaluations.push_back(std::move(evaluation));
    }
    if (request.done) request.done(evaluations.size() - 1, evaluations.back());
  }
  return evaluations;
}

}  // namespace quern
