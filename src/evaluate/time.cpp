// SPDX-License-Identifier: Apache-2.0
#include "evaluate/time.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <thread>

#include "base/clock.h"
#include "tensor/fill.h"

namespace quern {
namespace {

/// One sample in so many runs on inputs that were altered just before it.
constexpr int kExchangeEvery = 4;
/// Lets the threads of the kernel timed before fall asleep: they spin for up to 0.1 ms.
constexpr auto kSettle = std::chrono::microseconds(200);
/// Pairs between two starts of the processes: as many as are cheap beside a start.
constexpr size_t kPairsARound = 3;
constexpr double kRoundNs = 3e7;

/// Alters the inputs in randomly chosen slots, in place.
void exchange(RunnableKernel& kernel, uint64_t word) {
  for (int slot = 0; slot < kernel.slots(); ++slot) {
    if ((mix_seed(word, static_cast<uint64_t>(slot)) & 1) != 0) kernel.flip(slot);
  }
}

bool precise(const std::vector<double>& samples, const TimingPolicy& policy) {
  if (static_cast<int>(samples.size()) < policy.min_samples) return false;
  const Interval interval = median_interval(samples, 0.95);
  const double middle = median(samples);
  if (interval.high - interval.low <= policy.spread * middle) return true;
  if (policy.inner_spread <= 0 || samples.size() < 3) return false;
  const Interval inner = without_extremes(samples);
  return inner.high - inner.low <= policy.inner_spread * middle;
}

void summarise(Timing& timing) {
  timing.median_ns = median(timing.samples_ns);
  const Interval interval = median_interval(timing.samples_ns, 0.95);
  timing.low_ns = interval.low;
  timing.high_ns = interval.high;
}

/// One sample on altered inputs whose outputs are checked afterwards. Unless `poisoned`, outputs
/// still hold the results of the inputs before: a candidate cannot tell such a sample from others.
Outcome<double> verified_sample(RunnableKernel& kernel, int calls, bool poisoned) {
  for (int slot = 0; slot < kernel.slots(); ++slot) kernel.flip(slot);
  if (poisoned) kernel.poison();
  auto ran = kernel.run(calls);
  if (!ran) return ran;
  const auto checked = kernel.verify(std::min(calls, kernel.slots()), "timed launch", nullptr);
  if (checked.has_error()) return checked.error();
  if (!checked.has_verdict()) return ran;
  if (std::holds_alternative<WrongResult>(checked.verdict())) {
    return Verdict(
        Rejected{"stale_output", "a timed launch left a wrong result",
                 verdict_reason(checked.verdict()) + ": " + verdict_evidence(checked.verdict())});
  }
  return checked.verdict();
}

}  // namespace

int calls_for(double call_ns, const TimingPolicy& policy) {
  return static_cast<int>(
      std::clamp(std::ceil(policy.batch_ns / std::max(call_ns, 1.0)), 1.0, 1e6));
}

Outcome<Timing> time_kernel(RunnableKernel& kernel, double first_call_ns, double incumbent_ns,
                            const TimingPolicy& policy, uint64_t seed) {
  Timing timing;
  if (incumbent_ns > 0 && first_call_ns > policy.hopeless_ratio * incumbent_ns) {
    timing.samples_ns = {first_call_ns};
    timing.early_rejected = true;
    summarise(timing);
    return timing;
  }
  // The first call ran cold, and a few calls say little of many: batches settle the batch length.
  // A single call says no more than the one before.
  int calls = kernel.slots() == 1 ? calls_for(first_call_ns, policy) : 1;
  for (int round = calls > 1 ? 1 : 0; round < 2 && first_call_ns < 4 * policy.batch_ns; ++round) {
    const int trial =
        round == 0 ? std::min(calls_for(first_call_ns, policy), kernel.slots()) : calls;
    auto batch = kernel.run(trial);
    if (!batch) return pass_on(batch);
    calls = calls_for(*batch / trial, policy);
    if (calls <= trial) break;
  }
  timing.calls_per_sample = calls;
  double spent_ns = 0;
  // Calls of a second and more are long enough to count for several samples.
  const int fewest = first_call_ns > 1e9 ? 1 : 3;
  const int surprise = first_call_ns > 1e9 ? 0 : static_cast<int>(mix_seed(seed, 17) % 4);
  // The surprise exchanges all inputs by itself; twice would leave some as they were.
  const auto exchanges = [&](int sample) {
    return sample % kExchangeEvery == surprise && sample != surprise;
  };
  for (int sample = 0; sample < policy.max_samples;) {
    if (exchanges(sample)) exchange(kernel, mix_seed(seed, static_cast<uint64_t>(sample)));
    if (sample == surprise) {
      auto ran = verified_sample(kernel, calls, false);
      if (!ran) return pass_on(ran);
      timing.samples_ns.push_back(*ran / calls);
      ++sample;
    } else {
      // As many at once as nothing is decided or changed between.
      const int decided =
          incumbent_ns > 0 || sample >= policy.min_samples ? 2 : policy.min_samples - sample;
      int batches = 1;
      while (batches < decided && sample + batches < policy.max_samples &&
             sample + batches != surprise && !exchanges(sample + batches) &&
             spent_ns + batches * calls * first_call_ns < policy.limit_ns) {
        ++batches;
      }
      auto ran = kernel.run_batches(calls, batches);
      if (!ran) return pass_on(ran);
      for (const double ns : *ran) timing.samples_ns.push_back(ns / calls);
      sample += batches;
    }
    spent_ns = calls * std::accumulate(timing.samples_ns.begin(), timing.samples_ns.end(), 0.0);
    const double fastest = *std::ranges::min_element(timing.samples_ns);
    timing.early_rejected = incumbent_ns > 0 && sample > 2 && sample > surprise &&
                            fastest > policy.reject_ratio * incumbent_ns;
    if (sample <= surprise) continue;
    if (timing.early_rejected || precise(timing.samples_ns, policy)) break;
    if (spent_ns > policy.limit_ns && static_cast<int>(timing.samples_ns.size()) >= fewest) break;
  }
  auto last = verified_sample(kernel, calls, true);
  if (!last) return pass_on(last);
  timing.samples_ns.push_back(*last / calls);
  summarise(timing);
  return timing;
}

namespace {

struct Side {
  const Contender* contender;
  std::unique_ptr<RunnableKernel> kernel;
  int calls = 0;  ///< per sample
};

Error cannot_duel(const Contender& contender, const Verdict& verdict) {
  return Error{ErrorKind::kInput,
               contender.name + " cannot be timed in a duel: " + verdict_reason(verdict),
               verdict_evidence(verdict)};
}

/// One sample of `calls` calls, per call.
Result<double> sample(Side& side, int calls) {
  auto ran = side.kernel->run(calls);
  if (ran.has_error()) return ran.error();
  if (ran.has_verdict()) return cannot_duel(*side.contender, ran.verdict());
  return *ran / calls;
}

/// Starts a fresh process and runs it until its first calls' page faults are paid. The number of
/// calls a sample is settled once, on batches of growing length: a few calls say little of many.
Result<void> start_side(Side& side, const TimingPolicy& policy) {
  auto kernel = side.contender->start();
  if (kernel.has_error()) return kernel.error();
  if (kernel.has_verdict()) return cannot_duel(*side.contender, kernel.verdict());
  side.kernel = std::move(*kernel);
  const bool settled = side.calls > 0;
  if (!settled) side.calls = side.kernel->slots();
  for (int round = 0; round < (settled ? 1 : 3); ++round) {
    QUERN_ASSIGN(const double call_ns, sample(side, side.calls));
    if (!settled) side.calls = calls_for(call_ns, policy);
  }
  return {};
}

/// Checks the outputs of timed launches that the kernel could not tell from others.
Result<void> check_side(Side& side) {
  auto last = verified_sample(*side.kernel, side.kernel->slots(), false);
  if (last.has_error()) return last.error();
  if (last.has_verdict()) return cannot_duel(*side.contender, last.verdict());
  return {};
}

/// Adds one pair of samples to the duel, in an order drawn from `word`.
Result<double> time_pair(Side (&sides)[2], uint64_t word, Duel& duel) {
  double times[2];
  for (int turn = 0; turn < 2; ++turn) {
    const size_t side = (static_cast<uint64_t>(turn) ^ word) & 1;
    std::this_thread::sleep_for(kSettle);
    QUERN_ASSIGN(times[side], sample(sides[side], sides[side].calls));
  }
  duel.candidate_ns.push_back(times[0]);
  duel.baseline_ns.push_back(times[1]);
  ++duel.pairs;
  return times[1] / times[0];
}

}  // namespace

Result<Duel> duel_kernels(const Contender& candidate, const Contender& baseline,
                          const TimingPolicy& policy, const DuelPolicy& duel_policy,
                          uint64_t seed) {
  Side sides[2] = {{&candidate, {}, 0}, {&baseline, {}, 0}};
  Duel duel;
  std::vector<double> ratios;  // one a round
  const int64_t begin = steady_now_ns();
  for (DuelState state; !state.finished;) {
    const uint64_t word = mix_seed(seed, ratios.size());
    for (Side& side : sides) side.kernel.reset();
    for (size_t turn = 0; turn < 2; ++turn) {
      QUERN_TRY(start_side(sides[(turn ^ word) & 1], policy));
    }
    std::vector<double> pairs;
    const int64_t round_begin = steady_now_ns();
    do {
      QUERN_ASSIGN(const double ratio, time_pair(sides, word >> (1 + pairs.size()), duel));
      pairs.push_back(ratio);
    } while (pairs.size() < kPairsARound &&
             static_cast<double>(steady_now_ns() - round_begin) < kRoundNs);
    ratios.push_back(median(pairs));
    state = assess_duel(ratios, duel_policy);
    duel.speedup = state.ratio;
    duel.low = state.interval.low;
    duel.high = state.interval.high;
    duel.different = state.different;
    const bool enough = ratios.size() >= 5;
    if (enough && seconds_between(begin, steady_now_ns()) > duel_policy.limit_s) break;
  }
  duel.rounds = static_cast<int>(ratios.size());
  for (Side& side : sides) QUERN_TRY(check_side(side));
  return duel;
}

}  // namespace quern
