// SPDX-License-Identifier: Apache-2.0
#include "evaluate/runnable_kernel.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern {
namespace {

/// A call may take so many times what the naive lowering takes, or what calls have taken before.
constexpr double kTimesSlower = 20;

/// What to do about a wrong result that narrow operands may have made; "" where nothing says so.
std::string hint_of(const InputMix& mix, const ir::Program& program, double max_error) {
  const std::string hint = input_mix_hint(mix, program);
  const bool multiplies = std::ranges::any_of(program.statements, sums_products);
  return hint.empty() && multiplies ? narrow_operands_hint(max_error) : hint;
}

}  // namespace

void RunnableKernel::flip(int slot) {
  const bool can = workload_->twin >= 0 && dataset(slot) != workload_->twin;
  load(slot, can ? workload_->twin : 0);
}

void RunnableKernel::poison() {
  for (int slot = 0; slot < slots_; ++slot) poison(slot);
}

Outcome<std::vector<double>> RunnableKernel::run_batches(int calls, int batches) {
  std::vector<double> all;
  for (int batch = 0; batch < batches; ++batch) {
    auto ran = run(calls);
    if (!ran) return pass_on(ran);
    all.push_back(*ran);
  }
  return all;
}

double RunnableKernel::limit_s(int calls, double hang_s) const {
  const double call_ns = std::max(workload_->naive_ns, slowest_call_ns_);
  return hang_s + kTimesSlower * calls * call_ns * 1e-9;
}

void RunnableKernel::account(double batch_ns, int calls) {
  kernel_ns_ += batch_ns;
  slowest_call_ns_ = std::max(slowest_call_ns_, batch_ns / calls);
}

Outcome<Done> RunnableKernel::verify_slot(int slot, const std::string& what,
                                          std::vector<Check>* checks) {
  const auto index = static_cast<size_t>(dataset(slot));
  const Dataset& data = workload_->datasets[index];
  const ComparePolicy& policy = workload_->policies[index];
  Check check;
  check.name = fmt::format("{} {}, {}", what, workload_->name, input_mix_name(data.mix, *program_));
  check.level = policy.bitwise ? "V2" : "V1";
  check.passed = true;
  for (size_t i = 0; i < data.outputs.size(); ++i) {
    const auto report = compare_output(slot, i);
    if (!report) return pass_on(report);
    const CompareReport& found = report.value();
    check.max_error = std::max(check.max_error, found.max_error);
    check.rms_error = std::max(check.rms_error, found.rms_error);
    if (found.ok) continue;
    check.passed = false;
    check.detail = fmt::format("{} of {} elements wrong; {}", found.wrong,
                               element_count(data.outputs[i].shape), found.worst);
    const std::string hint = hint_of(data.mix, *program_, found.max_error);
    if (!hint.empty()) check.detail += "; " + hint;
    break;
  }
  if (checks != nullptr) checks->push_back(check);
  if (check.passed) return Done{};
  const std::string reason = policy.bitwise ? "not exact where whole numbers allow no rounding"
                                            : "outside the error bound";
  return Verdict(WrongResult{fmt::format("{} on {}", reason, check.name), check.detail});
}

Outcome<Done> RunnableKernel::verify(int slots, const std::string& what,
                                     std::vector<Check>* checks) {
  Outcome<Done> result = hold(slots);
  for (int slot = 0; slot < slots && result; ++slot) {
    // What agrees bit for bit with a right result needs no second comparison with the oracle.
    if (checks == nullptr && slot > 0 && repeats(slot)) continue;
    result = verify_slot(slot, what, checks);
  }
  let_go();
  return result;
}

}  // namespace quern
