// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "evaluate/runnable_kernel.h"
#include "evaluate/statistics.h"
#include "record/timing.h"

namespace quern {

/// How long and how often to time. Method: docs/measuring.md.
struct TimingPolicy {
  double batch_ns = 5e6;  ///< a sample lasts at least this long
  int min_samples = 5;    ///< fewer only when they would take longer than `limit_ns`
  int max_samples = 8;
  double spread = 0.02;  ///< stop when the 95 % interval of the median is this narrow
  /// Stop also when all samples but the lowest and the highest lie this close together; 0: never.
  double inner_spread = 0;
  double limit_ns = 3e8;       ///< kernel time for all samples together
  double reject_ratio = 1.15;  ///< after 3 samples all slower than this × incumbent: stop
  double hopeless_ratio = 3;   ///< one verified call slower than this × incumbent: not timed
};

/// Times a verified kernel, one sample a batch of calls, and verifies the outputs of timed
/// launches: inputs are exchanged in place and outputs poisoned before samples the candidate
/// cannot tell from others. `first_call_ns` is a verified call's time. Verdicts: whatever a call
/// can end in, and `Rejected` for results that are right only when nothing changes.
Outcome<Timing> time_kernel(RunnableKernel& kernel, double first_call_ns, double incumbent_ns,
                            const TimingPolicy& policy, uint64_t seed);

/// One side of a duel: a verified kernel that can be loaded any number of times.
struct Contender {
  std::string name;  ///< for messages
  std::function<Outcome<std::unique_ptr<RunnableKernel>>()> start;
};

/// Times two kernels in rounds until the sequential test is settled. A round starts both anew, so
/// that where their memory happens to lie differs from round to round and is noise that the
/// interval covers, then times pairs in random order; its ratio is the median of theirs.
/// `Duel::speedup` is baseline ÷ candidate.
Result<Duel> duel_kernels(const Contender& candidate, const Contender& baseline,
                          const TimingPolicy& policy, const DuelPolicy& duel_policy, uint64_t seed);

/// Calls per sample so that it lasts at least `batch_ns`.
int calls_for(double call_ns, const TimingPolicy& policy);

}  // namespace quern
