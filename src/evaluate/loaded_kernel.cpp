// SPDX-License-Identifier: Apache-2.0
#include "evaluate/loaded_kernel.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern {

Outcome<LoadedKernel> LoadedKernel::start(const ir::Program& program, const Workload& workload,
                                          const Binary& binary, const std::string& entry,
                                          const Options& options) {
  KernelLayout layout;
  layout.sizes = free_size_values(program, workload.sizes);
  layout.inputs = input_bytes(program, workload.sizes);
  layout.outputs = output_bytes(program, workload.sizes);
  layout.slots = options.slots;
  layout.align = options.align;
  for (const ir::InputDecl& input : program.inputs) layout.input_names.push_back(input.name);
  for (const ir::Statement* output : program.outputs()) {
    layout.output_names.push_back(output->name);
  }
  auto process = KernelProcess::start(binary, entry, layout, options.limits, options.trusted);
  if (process.has_error()) return process.error();
  if (process.has_verdict()) return process.verdict();
  LoadedKernel kernel(program, workload, options);
  kernel.process_ = std::move(*process);
  kernel.assigned_.assign(static_cast<size_t>(options.slots), -1);
  for (int slot = 0; slot < options.slots; ++slot) {
    kernel.load(slot, workload.twin >= 0 ? 0 : slot % static_cast<int>(workload.datasets.size()));
  }
  kernel.poison();
  return kernel;
}

void LoadedKernel::load(int slot, int dataset) {
  int& assigned = assigned_[static_cast<size_t>(slot)];
  if (assigned == dataset) return;
  assigned = dataset;
  const Dataset& data = workload_->datasets[static_cast<size_t>(dataset)];
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    std::ranges::copy(data.inputs[i], process_->input(slot, static_cast<int>(i)).begin());
  }
}

void LoadedKernel::flip(int slot) {
  const bool can = workload_->twin >= 0 && dataset(slot) != workload_->twin;
  load(slot, can ? workload_->twin : 0);
}

Outcome<double> LoadedKernel::run(int calls) {
  auto ran = process_->run(calls, options_.call_limit_s + calls * options_.call_limit_s / 100);
  if (ran) kernel_ns_ += *ran;
  return ran;
}

Outcome<Done> LoadedKernel::verify_slot(int slot, const std::string& what,
                                        std::vector<Check>* checks) {
  const auto index = static_cast<size_t>(dataset(slot));
  const Dataset& data = workload_->datasets[index];
  const ComparePolicy& policy = workload_->policies[index];
  Check check;
  check.name = fmt::format("{} {}, {}", what, workload_->name, input_mix_name(data.mix, *program_));
  check.level = policy.bitwise ? "V2" : "V1";
  check.passed = true;
  for (size_t i = 0; i < data.outputs.size(); ++i) {
    const CompareReport report =
        compare(process_->output(slot, static_cast<int>(i)), data.outputs[i], policy);
    check.max_error = std::max(check.max_error, report.max_error);
    check.rms_error = std::max(check.rms_error, report.rms_error);
    if (report.ok) continue;
    check.passed = false;
    check.detail = fmt::format("{} of {} elements wrong; {}", report.wrong,
                               data.outputs[i].value.size(), report.worst);
    break;
  }
  if (checks != nullptr) checks->push_back(check);
  if (check.passed) return Done{};
  const std::string reason = policy.bitwise ? "not exact where whole numbers allow no rounding"
                                            : "outside the error bound";
  return Verdict(WrongResult{fmt::format("{} on {}", reason, check.name), check.detail});
}

Outcome<Done> LoadedKernel::verify(int slots, const std::string& what, std::vector<Check>* checks) {
  // Frozen, a candidate that reported itself done too early cannot finish behind our back.
  if (auto frozen = process_->freeze(); !frozen) return frozen;
  Outcome<Done> result = Done{};
  if (!process_->canaries_ok()) {
    result = Verdict(Rejected{"out_of_bounds_write", "wrote outside its outputs",
                              "guard bytes beside an output buffer were changed"});
  }
  for (int slot = 0; slot < slots && result; ++slot) result = verify_slot(slot, what, checks);
  process_->thaw();
  return result;
}

std::vector<std::byte> LoadedKernel::outputs(int slots) {
  std::vector<std::byte> all;
  const size_t count = output_bytes(*program_, workload_->sizes).size();
  for (int slot = 0; slot < slots; ++slot) {
    for (size_t i = 0; i < count; ++i) {
      const auto bytes = process_->output(slot, static_cast<int>(i));
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
  }
  return all;
}

}  // namespace quern
