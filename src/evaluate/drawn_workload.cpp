// SPDX-License-Identifier: Apache-2.0
//
// The timed workload of a device that draws inputs and judges outputs itself.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "evaluate/device_evaluator.h"
#include "evaluate/device_evaluator_built.h"
#include "evaluate/task_workloads.h"
#include "ir/counts.h"
#include "tensor/fill.h"
#include "verify/plan_workload.h"
#include "verify/rounding_samples.h"

namespace quern {
namespace {

using Kind = InputMix::Kind;

constexpr double kNaiveLimitS = 300;
/// Tasks with more data than this are not tried on two distributions of one kind.
constexpr double kLargeBytes = 1 << 30;
/// Two oracles agree when the errors they see differ by no more than this, absolute and relative.
constexpr double kAgreement = 1e-3;

bool all_normal(const ir::Program& program) {
  return std::ranges::all_of(program.inputs, [](const ir::InputDecl& input) {
    return !is_float(input.type) || input.distribution.kind == ir::Distribution::Kind::kNormal;
  });
}

/// The policy of a bound that has outgrown results where `hidden` has such inputs: as much less is
/// accepted as random rounding showed there, with room for how that differs from place to place.
ComparePolicy drawn_policy(const Workload& hidden, Kind kind, double trusted_error) {
  constexpr double kRoom = 4;
  double share = 1;
  for (const Dataset& data : hidden.datasets) {
    if (data.mix.kind == kind && data.sampled) share = std::min(1.0, kRoom * data.sampled_share);
  }
  ComparePolicy policy = bound_policy(share > 0 ? trusted_error / share : 0);
  policy.factor *= share;
  return policy;
}

/// Every data set that the timed shape may have.
Workload trial_workload(const ir::Program& program, const ir::Sizes& sizes, uint64_t seed,
                        int probe_level, const Workload& hidden) {
  Workload trial;
  trial.sizes = sizes;
  trial.name = sizes_name(program, sizes);
  uint64_t stream = 0;
  const auto add = [&](const InputMix& mix, const ComparePolicy& policy) {
    Dataset data;
    data.mix = mix;
    data.seed = mix_seed(seed, ++stream);
    data.outputs = describe_outputs(program, sizes);
    trial.datasets.push_back(std::move(data));
    trial.policies.push_back(policy);
  };
  add({Kind::kDeclared}, drawn_policy(hidden, Kind::kDeclared, 0));
  const bool same = ir::io_bytes(program, sizes) > kLargeBytes && all_normal(program);
  if (!same) add({Kind::kNormal}, drawn_policy(hidden, Kind::kNormal, 0));
  for (int level = std::max(0, probe_level); probe_level >= 0 && level < kProbeLevels; ++level) {
    add({Kind::kProbe, level}, exact_policy());
  }
  return trial;
}

void drop(Workload& workload, size_t index) {
  workload.datasets.erase(workload.datasets.begin() + static_cast<long>(index));
  workload.policies.erase(workload.policies.begin() + static_cast<long>(index));
}

/// The data sets that are kept, and the twin of the first.
void add_twin(Workload& workload, uint64_t seed) {
  Dataset twin = workload.datasets.front();
  twin.mix.kind = Kind::kTwin;
  twin.twin_seed = mix_seed(seed, 101);
  workload.twin = static_cast<int>(workload.datasets.size());
  workload.datasets.push_back(std::move(twin));
  workload.policies.push_back(workload.policies.front());
}

/// `sampled`: the host's scales are samples, which are smaller than the device's bound.
bool agree(const CompareCounts& one, const CompareCounts& other, bool sampled) {
  if (sampled) return !(one.max_error > (1 + kAgreement) * other.max_error + kAgreement);
  if ((one.wrong == 0) != (other.wrong == 0)) return false;
  if (!std::isfinite(one.max_error) || !std::isfinite(other.max_error)) {
    return std::isfinite(one.max_error) == std::isfinite(other.max_error);
  }
  return std::abs(one.max_error - other.max_error) <= kAgreement * (1 + one.max_error);
}

template <class T>
Error failure_of(const Outcome<T>& outcome, const std::string& what) {
  if (outcome.has_error()) return outcome.error();
  return Error{ErrorKind::kInternal, what + ": " + verdict_reason(outcome.verdict()),
               verdict_evidence(outcome.verdict())};
}

/// Runs a kernel on what its slots hold, and looks at the outputs; wrong ones are no failure.
Result<std::vector<CompareCounts>> look(WorkerKernel& kernel, int slots, double* ns) {
  kernel.RunnableKernel::poison();
  if (ns != nullptr) {
    auto ran = kernel.run(kernel.slots());
    if (!ran) return failure_of(ran, "the naive lowering failed");
    *ns = *ran;
  }
  auto verified = kernel.verify(slots, "naive", nullptr);
  if (verified.has_error()) return verified.error();
  if (verified.has_verdict() && !std::holds_alternative<WrongResult>(verified.verdict())) {
    return failure_of(verified, "the naive lowering failed");
  }
  return kernel.found();
}

}  // namespace

Result<std::unique_ptr<WorkerKernel>> DeviceEvaluator::start_naive(
    DeviceSession& session, Built& naive, const Workload& workload,
    const BuiltOracle::Bound* oracle) {
  QUERN_ASSIGN(const BoundPlan plan,
               bind_plan(naive.plan, plan_workload(program_, workload.sizes), options_.target));
  WorkerKernel::Options options;
  const bool hidden = &workload == &hidden_.front();
  const Workload* built_for = hidden || !naive.plan.specialize ? &hidden_.front() : &timed_;
  options.slots = hidden ? static_cast<int>(workload.datasets.size()) : 1;
  options.placement = options.slots > 1 ? Placement::kRight : Placement::kLeft;
  options.hang_s = kNaiveLimitS;
  options.oracle = oracle;
  auto kernel =
      WorkerKernel::start(program_, workload, session, naive.images.at(built_for), plan, options);
  if (!kernel) return failure_of(kernel, "the naive lowering does not start");
  return std::move(*kernel);
}

/// On a hidden shape, what the device draws and demands must be what the host does.
Result<void> DeviceEvaluator::check_oracle(const BuiltOracle& oracle, DeviceSession& session,
                                           Built& naive) {
  const Workload& hidden = hidden_.front();
  QUERN_ASSIGN(const BuiltOracle::Bound bound, oracle.at(program_, hidden.sizes));
  double ns = 0;
  const auto seen = [&](const BuiltOracle::Bound* judge) -> Result<std::vector<CompareCounts>> {
    QUERN_ASSIGN(const auto kernel, start_naive(session, naive, hidden, judge));
    return look(*kernel, kernel->slots(), &ns);
  };
  // The inputs drawn for the first stay for the second.
  QUERN_ASSIGN(const auto here, seen(&bound));
  QUERN_ASSIGN(const auto there, seen(nullptr));
  naive_hidden_ns_ = ns / static_cast<double>(hidden.datasets.size());
  for (size_t i = 0; i < there.size() && i < here.size(); ++i) {
    const size_t data = i / program_.outputs().size();
    if (agree(here[i], there[i], hidden.datasets[data].sampled)) continue;
    return Error{
        ErrorKind::kInternal,
        fmt::format("the device's oracle and the host's differ on {}: errors of {:.6g} and "
                    "{:.6g} times the rounding scale",
                    hidden.name, here[i].max_error, there[i].max_error),
        ""};
  }
  return {};
}

/// What the naive lowering's errors are, which accepts as much of candidates; which probes are
/// exact.
Result<void> DeviceEvaluator::measure_naive(Workload& trial, WorkerKernel& kernel) {
  std::vector<size_t> unfit;
  bool probed = false;
  for (size_t d = 0; d < trial.datasets.size(); ++d) {
    const bool probe = trial.policies[d].bitwise;
    const bool slow = d > 0 && trial.naive_ns > kSlowNaiveNs;
    if (probe && probed) {
      unfit.push_back(d);
      continue;
    }
    if (!probe && slow) {
      trial.policies[d] = trial.policies.front();
      continue;
    }
    kernel.load(0, static_cast<int>(d));
    double ns = 0;
    QUERN_ASSIGN(const auto counts, look(kernel, 1, probe ? nullptr : &ns));
    trial.naive_ns = std::max(trial.naive_ns, ns);
    double worst = 0;
    uint64_t compared = 0, inexact = 0;
    for (const CompareCounts& count : counts) {
      worst = std::max(worst, count.max_error);
      compared += count.compared;
      inexact += count.inexact;
      if (probe || count.unwritten == 0) continue;
      return Error{ErrorKind::kInternal,
                   fmt::format("the naive lowering leaves {} elements unwritten", count.unwritten),
                   ""};
    }
    if (probe) {
      probed = inexact == 0;
      if (!probed) unfit.push_back(d);
    } else if (std::isfinite(worst) && compared > 0) {
      trial.policies[d] = drawn_policy(hidden_.front(), trial.datasets[d].mix.kind, worst);
    } else if (d > 0) {
      unfit.push_back(d);  // the declared distribution stays, whatever the lowering does
    }
  }
  while (!unfit.empty()) {
    drop(trial, unfit.back());
    unfit.pop_back();
  }
  return {};
}

Result<Workload> DeviceEvaluator::draw_timed(int probe_level) {
  const bool sampled = std::ranges::any_of(hidden_.front().datasets, &Dataset::sampled);
  if (sampled && may_outgrow(program_)) {
    return Error{ErrorKind::kInput,
                 "its bound on rounding outgrows its results, and rounding is sampled there", ""};
  }
  QUERN_ASSIGN(const BuiltOracle oracle, BuiltOracle::make(program_, sizes_, *options_.compiler,
                                                           options_.compare_header, contract()));
  QUERN_ASSIGN(timed_oracle_, oracle.at(program_, sizes_));
  QUERN_ASSIGN(std::vector<Built> built, build({naive_baseline()}));
  QUERN_TRY(finish_build(built.front()));
  if (built.front().verdict) {
    return Error{ErrorKind::kInternal,
                 "the naive lowering does not compile: " + verdict_reason(*built.front().verdict),
                 verdict_evidence(*built.front().verdict)};
  }
  const uint64_t seed = timed_seed(options_.seed);
  Workload trial = trial_workload(program_, sizes_, seed, probe_level, hidden_.front());
  // The session ends with this: its buffers belong to workloads that nobody else knows.
  QUERN_ASSIGN(const std::unique_ptr<DeviceSession> session, sessions_->take());
  QUERN_TRY(check_oracle(oracle, *session, built.front()));
  {
    // The kernel keeps to the policies it was started with.
    const Workload start = trial;
    QUERN_ASSIGN(const auto kernel, start_naive(*session, built.front(), start, &*timed_oracle_));
    QUERN_TRY(measure_naive(trial, *kernel));
  }
  add_twin(trial, seed);
  return trial;
}

}  // namespace quern
