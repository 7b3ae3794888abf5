// SPDX-License-Identifier: Apache-2.0
#include "search/simulated_evaluator.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "base/hash.h"

namespace quern {
namespace {

constexpr double kFloorNs = 4e4;

/// A number in [0, 1) from a text.
double share_of(const std::string& text) {
  return static_cast<double>(std::strtoull(sha256_hex(text).substr(0, 13).c_str(), nullptr, 16)) /
         static_cast<double>(1ull << 52);
}

Verdict failure(double pick) {
  if (pick < 0.3) return CompileFailed{"'k' was not declared", "candidate.cpp:3:5: error: 'k'"};
  if (pick < 0.6) return WrongResult{"y[0, 3] is 1.5, should be 2", "error 4e5 units"};
  if (pick < 0.75) return Crashed{"segmentation fault", "address 0", 11};
  if (pick < 0.9) return TimedOut{"did not return", "", 10};
  return Rejected{"file_access", "system call openat is not allowed in a kernel", "openat"};
}

}  // namespace

double SimulatedEvaluator::time_ns(const Candidate& candidate) const {
  if (candidate.proposer == "baseline" && candidate.note == "naive") return options_.naive_ns;
  double share = share_of(fmt::format("time {} {}", options_.seed, candidate.source));
  return options_.best_ns * std::exp(3.0 * share);
}

Evaluation SimulatedEvaluator::judge(const Candidate& candidate,
                                     const EvaluateRequest& request) const {
  Evaluation evaluation;
  evaluation.candidate_id = candidate.id;
  evaluation.build = {"simulated", "", "", candidate.id, 0, false};
  std::string key = fmt::format("verdict {} {}", options_.seed, candidate.source);
  double fate = share_of(key);
  if (candidate.proposer != "baseline" && fate < options_.fail_share) {
    evaluation.verdict = failure(fate / options_.fail_share);
    return evaluation;
  }
  Timing timing;
  timing.median_ns = time_ns(candidate);
  timing.low_ns = timing.median_ns * 0.995;
  timing.high_ns = timing.median_ns * 1.005;
  timing.samples_ns = {timing.low_ns, timing.median_ns, timing.high_ns};
  timing.early_rejected = request.incumbent_ns > 0 && timing.median_ns > 1.5 * request.incumbent_ns;
  timing.clock = "simulated";
  evaluation.verdict = Passed{"V1", "simulated: nothing was run", timing};
  evaluation.roofline = kFloorNs / timing.median_ns;
  return evaluation;
}

Result<std::vector<Evaluation>> SimulatedEvaluator::evaluate(
    const std::vector<Candidate>& candidates, const EvaluateRequest& request) {
  std::vector<Evaluation> evaluations;
  for (const Candidate& candidate : candidates) {
    if (request.stop && request.stop()) break;
    if (options_.delay_ms > 0) {
      std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(options_.delay_ms));
    }
    evaluations.push_back(judge(candidate, request));
    ++evaluations_;
    if (request.done) request.done(evaluations.size() - 1, evaluations.back());
  }
  return evaluations;
}

Result<Duel> SimulatedEvaluator::duel(const Candidate& candidate, const Candidate& baseline) {
  ++duels_;
  Duel duel;
  duel.baseline = baseline.proposer == "baseline" ? baseline.note : baseline.id;
  duel.rounds = duel.pairs = 5;
  duel.baseline_ns.assign(5, time_ns(baseline));
  duel.candidate_ns.assign(5, time_ns(candidate));
  duel.speedup = time_ns(baseline) / time_ns(candidate);
  duel.low = duel.speedup * 0.99;
  duel.high = duel.speedup * 1.01;
  duel.different = duel.low > 1 || duel.high < 1;
  return duel;
}

Result<std::vector<Candidate>> SimulatedEvaluator::baselines() {
  std::vector<Candidate> baselines;
  for (const char* name : {"naive", "library"}) {
    Candidate& baseline =
        baselines.emplace_back(make_candidate(fmt::format("// {}\n", name), "baseline"));
    baseline.note = name;
  }
  return baselines;
}

Environment SimulatedEvaluator::environment() {
  Environment environment;
  environment.cpu = "simulated";
  environment.isa = "none";
  environment.compiler = "none";
  environment.sandbox = "nothing is run";
  environment.copy_bandwidth_gbs = 20;
  environment.read_bandwidth_gbs = 20;
  environment.fma_gflops = 100;
  return environment;
}

Work SimulatedEvaluator::work() { return {1e6, 8e5, kFloorNs, "memory bandwidth"}; }

}  // namespace quern
