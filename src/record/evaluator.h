// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "record/candidate.h"
#include "record/evaluation.h"
#include "record/profile.h"
#include "record/timing.h"

namespace quern {

/// What a task must do at one size, and the time physics allows it on this machine.
struct Work {
  double flops = 0;
  double bytes = 0;     ///< every input read once, every output written once
  double floor_ns = 0;  ///< max of bytes over measured bandwidth and flops over measured peak
  std::string bound;    ///< what the floor rests on: "memory bandwidth" or "arithmetic"
};

struct EvaluateRequest {
  /// Median of the best candidate so far: clearly slower ones are not timed to the end. 0: none.
  double incumbent_ns = 0;
  /// Asked between candidates; once true, the rest are left out.
  std::function<bool()> stop;
  /// Told of each evaluation as soon as it is there (index into the candidates), in any order.
  std::function<void(size_t, const Evaluation&)> done;
  /// Asked between candidates, with how many are waiting: what else there is to evaluate. It comes
  /// after the rest, so that compiling goes on beside judging; no answer means that nothing is
  /// there now. Evaluators may never ask.
  std::function<std::vector<Candidate>(size_t waiting)> more;
};

/// The referee of one task at one size on one device. Verdicts are data; an `Error` means that the
/// machine failed, and nothing is known of the candidates. Not thread-safe.
class Evaluator {
 public:
  virtual ~Evaluator() = default;

  /// Compiles, verifies and times. One evaluation a candidate, in order, those that `more` gave
  /// included; fewer only when `stop` said so (then the first n are evaluated).
  virtual Result<std::vector<Evaluation>> evaluate(const std::vector<Candidate>& candidates,
                                                   const EvaluateRequest& request) = 0;
  /// Paired and interleaved; `speedup` is `baseline` ÷ `candidate`. Both passed before.
  virtual Result<Duel> duel(const Candidate& candidate, const Candidate& baseline) = 0;
  /// Trusted implementations that apply, "naive" first; the name is in `note`.
  virtual Result<std::vector<Candidate>> baselines() = 0;
  /// Hardware counters of a candidate that passed, at the timed size. It is called some dozen times
  /// under a profiler: never while anything is timed. Errors: kEnvironment, with the reason, where
  /// counters are not read or are refused; kInput: the candidate does not run.
  virtual Result<Profile> profile(const Candidate& candidate);
  virtual Environment environment() = 0;
  virtual Work work() = 0;
};

}  // namespace quern
