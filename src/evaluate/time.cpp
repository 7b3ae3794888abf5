// SPDX-License-Identifier: Apache-2.0
#include "evaluate/time.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "base/clock.h"
#include "tensor/fill.h"

namespace quern {
namespace {

/// One sample in so many runs on inputs that were altered just before it.
constexpr int kExchangeEvery = 4;
/// Lets the threads of the kernel timed before fall asleep: they spin for up to 0.1 ms.
constexpr auto kSettle = std::chrono::microseconds(200);

/// Alters the inputs in randomly chosen slots, in place.
void exchange(LoadedKernel& kernel, uint64_t word) {
  for (int slot = 0; slot < kernel.slots(); ++slot) {
    if ((mix_seed(word, static_cast<uint64_t>(slot)) & 1) != 0) kernel.flip(slot);
  }
}

bool precise(const std::vector<double>& samples, const TimingPolicy& policy) {
  if (static_cast<int>(samples.size()) < policy.min_samples) return false;
  const Interval interval = median_interval(samples, 0.95);
  return interval.high - interval.low <= policy.spread * median(samples);
}

void summarise(Timing& timing) {
  timing.median_ns = median(timing.samples_ns);
  const Interval interval = median_interval(timing.samples_ns, 0.95);
  timing.low_ns = interval.low;
  timing.high_ns = interval.high;
}

/// One sample whose outputs are checked afterwards: the candidate cannot know which one it is.
Outcome<double> verified_sample(LoadedKernel& kernel, int calls) {
  for (int slot = 0; slot < kernel.slots(); ++slot) kernel.flip(slot);
  kernel.poison();
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

Outcome<Timing> time_kernel(LoadedKernel& kernel, double first_call_ns, double incumbent_ns,
                            const TimingPolicy& policy, uint64_t seed) {
  Timing timing;
  if (incumbent_ns > 0 && first_call_ns > policy.hopeless_ratio * incumbent_ns) {
    timing.samples_ns = {first_call_ns};
    timing.early_rejected = true;
    summarise(timing);
    return timing;
  }
  // The first call ran cold, and a few calls say little of many: batches settle the batch length.
  int calls = 1;
  for (int round = 0; round < 2 && first_call_ns < 4 * policy.batch_ns; ++round) {
    const int trial =
        round == 0 ? std::min(calls_for(first_call_ns, policy), kernel.slots()) : calls;
    auto batch = kernel.run(trial);
    if (!batch) return batch.has_error() ? Outcome<Timing>(batch.error()) : batch.verdict();
    calls = calls_for(*batch / trial, policy);
    if (calls <= trial) break;
  }
  timing.calls_per_sample = calls;
  double spent_ns = 0;
  // Calls of a second and more are long enough to count for several samples.
  const int fewest = first_call_ns > 1e9 ? 1 : 3;
  const int surprise = first_call_ns > 1e9 ? 0 : static_cast<int>(mix_seed(seed, 17) % 4);
  for (int sample = 0; sample < policy.max_samples; ++sample) {
    if (sample % kExchangeEvery == surprise) {
      exchange(kernel, mix_seed(seed, static_cast<uint64_t>(sample)));
    }
    auto ran = sample == surprise ? verified_sample(kernel, calls) : kernel.run(calls);
    if (!ran) return ran.has_error() ? Outcome<Timing>(ran.error()) : ran.verdict();
    spent_ns += *ran;
    timing.samples_ns.push_back(*ran / calls);
    const double fastest = *std::ranges::min_element(timing.samples_ns);
    timing.early_rejected = incumbent_ns > 0 && sample >= 2 && sample >= surprise &&
                            fastest > policy.reject_ratio * incumbent_ns;
    if (sample < surprise) continue;
    if (timing.early_rejected || precise(timing.samples_ns, policy)) break;
    if (spent_ns > policy.limit_ns && static_cast<int>(timing.samples_ns.size()) >= fewest) break;
  }
  auto last = verified_sample(kernel, calls);
  if (!last) return last.has_error() ? Outcome<Timing>(last.error()) : last.verdict();
  timing.samples_ns.push_back(*last / calls);
  summarise(timing);
  return timing;
}

Outcome<Duel> duel_kernels(LoadedKernel& candidate, LoadedKernel& baseline,
                           const TimingPolicy& policy, const DuelPolicy& duel_policy,
                           uint64_t seed) {
  LoadedKernel* const kernels[2] = {&candidate, &baseline};
  int calls[2];
  for (int side = 0; side < 2; ++side) {
    // The first calls of a fresh process pay for its page faults, and a few calls say little of
    // many: batches of growing length settle the length.
    calls[side] = kernels[side]->slots();
    for (int round = 0; round < 3; ++round) {
      auto ran = kernels[side]->run(calls[side]);
      if (!ran) return ran.has_error() ? Outcome<Duel>(ran.error()) : ran.verdict();
      calls[side] = calls_for(*ran / calls[side], policy);
    }
  }
  Duel duel;
  std::vector<double> ratios;
  const double begin = static_cast<double>(steady_now_ns());
  for (DuelState state; !state.finished;) {
    const int first = static_cast<int>(mix_seed(seed, ratios.size()) & 1);
    double times[2];
    for (int turn = 0; turn < 2; ++turn) {
      const int side = turn == 0 ? first : 1 - first;
      std::this_thread::sleep_for(kSettle);
      auto ran = kernels[side]->run(calls[side]);
      if (!ran) return ran.has_error() ? Outcome<Duel>(ran.error()) : ran.verdict();
      times[side] = *ran / calls[side];
    }
    duel.candidate_ns.push_back(times[0]);
    duel.baseline_ns.push_back(times[1]);
    ratios.push_back(times[1] / times[0]);
    state = assess_duel(ratios, duel_policy);
    duel.speedup = state.ratio;
    duel.low = state.interval.low;
    duel.high = state.interval.high;
    duel.different = state.different;
    const bool enough = static_cast<int>(ratios.size()) >= 5;
    if (enough && static_cast<double>(steady_now_ns()) - begin > duel_policy.limit_s * 1e9) break;
  }
  duel.pairs = static_cast<int>(ratios.size());
  for (LoadedKernel* kernel : kernels) {
    auto last = verified_sample(*kernel, kernel->slots());
    if (!last) return last.has_error() ? Outcome<Duel>(last.error()) : last.verdict();
  }
  return duel;
}

}  // namespace quern
