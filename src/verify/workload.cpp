// SPDX-License-Identifier: Apache-2.0
#include "verify/workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "device/cpu/kernel_process.h"

namespace quern {
namespace {

using Kind = InputMix::Kind;

constexpr int64_t kHiddenElements = 200'000;
constexpr double kBaseFactor = 4;     // beta of research 07 section 6
constexpr double kTrustedFactor = 3;  // alpha
constexpr double kLargestFactor = 64;

/// Runs a trusted binary on one data set and compares with what is expected of it.
Result<std::vector<CompareReport>> run_trusted(const WorkloadMaker& maker, Workload& workload,
                                               const Dataset& data) {
  const ir::Sizes& sizes = workload.sizes;
  KernelLayout layout;
  layout.sizes = free_size_values(maker.program, sizes);
  layout.inputs = input_bytes(maker.program, sizes);
  layout.outputs = output_bytes(maker.program, sizes);
  KernelLimits limits;
  limits.threads = maker.threads;
  limits.memory_bytes = uint64_t{1} << 40;
  auto process = KernelProcess::start(maker.naive, maker.program.name, layout, limits, true);
  if (process.has_error()) return process.error();
  const auto failed = [&](const Verdict& verdict) {
    return Error{ErrorKind::kInternal, "the naive lowering failed: " + verdict_reason(verdict), ""};
  };
  if (process.has_verdict()) return failed(process.verdict());
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    std::ranges::copy(data.inputs[i], (*process)->input(0, static_cast<int>(i)).begin());
  }
  (*process)->poison_outputs();
  auto ran = (*process)->run(1, 600);
  if (ran.has_error()) return ran.error();
  if (ran.has_verdict()) return failed(ran.verdict());
  workload.naive_ns = std::max(workload.naive_ns, *ran);
  std::vector<CompareReport> reports;
  for (size_t i = 0; i < data.outputs.size(); ++i) {
    reports.push_back(compare((*process)->output(0, static_cast<int>(i)), data.outputs[i], {}));
  }
  return reports;
}

/// The accepted error factor, or nothing where the trusted implementation is no guide.
Result<std::optional<double>> accepted_factor(const WorkloadMaker& maker, Workload& workload,
                                              const Dataset& data) {
  QUERN_ASSIGN(const auto reports, run_trusted(maker, workload, data));
  double worst = 0;
  int64_t compared = 0;
  for (const CompareReport& report : reports) {
    worst = std::max(worst, report.max_error);
    compared += report.compared;
  }
  if (!std::isfinite(worst) || compared == 0) return std::optional<double>();
  return std::optional(bound_policy(worst).factor);
}

void add(Workload& workload, Dataset data, const ComparePolicy& policy) {
  workload.datasets.push_back(std::move(data));
  workload.policies.push_back(policy);
}

/// Adds the strongest exact data set of this kind, if the program admits one. Where operands may be
/// rounded to TF32, numbers begin so small that the product of two of them still fits it: a factor
/// may have been multiplied into weights.
Result<bool> add_exact(const WorkloadMaker& maker, Workload& workload, InputMix mix,
                       uint64_t seed) {
  const bool rounds = maker.oracle.contract() == Contract::kTf32Convolutions;
  for (mix.level = rounds ? 1 : 0; mix.level < kProbeLevels; ++mix.level) {
    Dataset data = draw_dataset(maker.program, workload.sizes, mix, seed);
    QUERN_TRY(maker.oracle.expect_exact(workload.sizes, data));
    if (!data.exact) continue;
    add(workload, std::move(data), exact_policy());
    return true;
  }
  return false;
}

}  // namespace

ComparePolicy bound_policy(double trusted_error) {
  ComparePolicy policy;
  policy.factor = std::clamp(kTrustedFactor * trusted_error, kBaseFactor, kLargestFactor);
  return policy;
}

ComparePolicy exact_policy() {
  ComparePolicy policy;
  policy.bitwise = true;
  policy.factor = 0;
  return policy;
}

std::vector<ExpectedOutput> describe_outputs(const ir::Program& program, const ir::Sizes& sizes) {
  std::vector<ExpectedOutput> outputs;
  for (const ir::Statement* output : program.outputs()) {
    ExpectedOutput expected;
    expected.name = output->name;
    expected.type = output->type;
    expected.shape = ir::shape_of(program, output->name, sizes);
    outputs.push_back(std::move(expected));
  }
  return outputs;
}

std::string sizes_name(const ir::Program& program, const ir::Sizes& sizes) {
  std::string text;
  for (const std::string& name : program.free_sizes()) {
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, sizes.at(name));
  }
  return text;
}

int probe_level_of(const Workload& workload) {
  for (const Dataset& data : workload.datasets) {
    if (data.mix.kind == Kind::kProbe) return data.mix.level;
  }
  return -1;
}

Result<Workload> WorkloadMaker::hidden(uint64_t seed, int64_t smallest) const {
  Workload workload;
  workload.sizes = hidden_sizes(program, seed, kHiddenElements, smallest);
  workload.name = sizes_name(program, workload.sizes);
  uint64_t stream = 0;
  const bool rounds = oracle.contract() == Contract::kTf32Convolutions;
  for (const InputMix& mix : input_mixes(oracle.contract())) {
    Dataset data = draw_dataset(program, workload.sizes, mix, mix_seed(seed, ++stream));
    QUERN_TRY(oracle.expect(workload.sizes, data));
    QUERN_ASSIGN(const auto factor, accepted_factor(*this, workload, data));
    ComparePolicy policy;
    policy.factor = factor.value_or(0);
    if (factor) add(workload, std::move(data), policy);
  }
  QUERN_ASSIGN(const bool exact,
               add_exact(*this, workload, {Kind::kProbe}, mix_seed(seed, ++stream)));
  if (!exact) return workload;
  for (size_t input = 0; input < program.inputs.size(); ++input) {
    if (!is_float(program.inputs[input].type)) continue;
    const InputMix meter{Kind::kMeter, 0, static_cast<int>(input)};
    QUERN_ASSIGN(const bool metered, add_exact(*this, workload, meter, mix_seed(seed, ++stream)));
    if (metered || !rounds) continue;
    const InputMix narrow{Kind::kTf32Meter, 0, static_cast<int>(input)};
    QUERN_TRY(add_exact(*this, workload, narrow, mix_seed(seed, ++stream)));
  }
  return workload;
}

Result<Workload> WorkloadMaker::timed(const ir::Sizes& sizes, uint64_t seed,
                                      int probe_level) const {
  Workload workload;
  workload.sizes = sizes;
  workload.name = sizes_name(program, sizes);
  uint64_t stream = 0;
  for (const Kind kind : {Kind::kDeclared, Kind::kNormal}) {
    Dataset data = draw_dataset(program, sizes, {kind}, mix_seed(seed, ++stream));
    QUERN_TRY(oracle.expect(sizes, data));
    std::optional<double> factor;
    if (!workload.policies.empty() && workload.naive_ns > kSlowNaiveNs) {
      factor = workload.policies.front().factor;  // minutes would go by on a naive giant
    } else {
      QUERN_ASSIGN(factor, accepted_factor(*this, workload, data));
    }
    // The declared distribution is what the task is for: it stays, whatever the baseline does.
    if (!factor && kind != Kind::kDeclared) continue;
    ComparePolicy policy;
    policy.factor = factor.value_or(kBaseFactor);
    add(workload, std::move(data), policy);
  }
  Dataset twin = twin_of(program, sizes, workload.datasets.front(), mix_seed(seed, ++stream));
  QUERN_TRY(oracle.expect(sizes, twin));
  workload.twin = static_cast<int>(workload.datasets.size());
  add(workload, std::move(twin), workload.policies.front());
  for (int level = probe_level; level >= 0 && level < kProbeLevels; ++level) {
    Dataset data = draw_dataset(program, sizes, {Kind::kProbe, level}, mix_seed(seed, ++stream));
    QUERN_TRY(oracle.expect_exact(sizes, data));
    if (!data.exact) continue;
    add(workload, std::move(data), exact_policy());
    break;
  }
  return workload;
}

}  // namespace quern
