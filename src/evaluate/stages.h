// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "evaluate/runnable_kernel.h"
#include "evaluate/time.h"
#include "record/evaluator.h"

/// The stages of an evaluation that are the same wherever a kernel runs.
namespace quern {

/// A candidate this close to the incumbent is verified on the second hidden shape too.
inline constexpr double kNearRecord = 1.1;
/// Below this share of the memory floor a time is an alarm.
inline constexpr double kFloorAlarm = 0.9;
/// `Work::bound` where memory decides.
inline constexpr const char* kMemoryBound = "memory bandwidth";

/// What results that are not the same each time amount to.
Verdict two_runs_differ(const Workload& workload);

/// All data sets of a hidden shape, one a slot, twice.
Outcome<Done> verify_hidden(RunnableKernel& kernel, Evaluation& evaluation);

/// Every data set of the timed shape through the first slot, so that the same addresses hold other
/// numbers each time; the time of the last call. The twin stays unseen until timed launches.
/// `trusted`: only the first data set is tried.
Outcome<double> verify_timed(RunnableKernel& kernel, bool trusted, Evaluation& evaluation);

/// `time_kernel` after every slot was given the declared distribution.
Outcome<Timing> take_time(RunnableKernel& kernel, double call_ns, double incumbent_ns,
                          const TimingPolicy& policy, uint64_t seed);

/// The highest level that a check at the timed shape speaks for, and what it rests on.
std::string level_of(const std::vector<Check>& checks);
std::string method_of(const std::vector<Check>& checks, const std::string& level);

/// Sets a time against the physics floor: fills `roofline`, and `alarm` when it is too good.
void weigh_time(double median_ns, const Work& work, Evaluation& evaluation);
/// Whether a time is below what the memory floor allows.
bool beats_floor(double median_ns, const Work& work);

/// The deterministic clock of tests: times that depend on the sources alone.
Timing hashed_timing(const Candidate& candidate);
Duel hashed_duel(const Candidate& candidate, const Candidate& baseline);
/// How a duel calls its baseline.
std::string baseline_name(const Candidate& baseline);

/// How many sets of a task's buffers timed calls rotate over. `io_bytes`: of one set.
int timed_slots(double io_bytes);

double ms_since(int64_t start_ns);

/// Folds what judging a built candidate came to into its record. `weigh` sets a measured time
/// against the physics floor; it is not asked where `clock` is "simulated". Errors: ours, and
/// those of `weigh`.
Result<void> record_judged(const Outcome<Passed>& judged, const Candidate& candidate,
                           const std::string& clock,
                           const std::function<Result<void>(double median_ns)>& weigh,
                           Evaluation& evaluation);
/// `stages_ms` of a candidate whose judging began at `start_ns`.
void record_times(int64_t start_ns, double compile_ms, Evaluation& evaluation);

/// Answers a batch in order, known candidates from `cache`: `prepare` is given those it does not
/// know, then `evaluate` each of them with its index among all that were prepared. `grows`:
/// `prepare` takes what the request's `more` gives as well, call by call.
struct BatchStages {
  bool grows = false;
  std::function<Result<void>(const std::vector<Candidate>&)> prepare;
  std::function<Result<Evaluation>(const Candidate&, size_t)> evaluate;
};
Result<std::vector<Evaluation>> evaluate_batch(const std::vector<Candidate>& candidates,
                                               const EvaluateRequest& request,
                                               std::map<std::string, Evaluation>& cache,
                                               const BatchStages& stages);

}  // namespace quern
