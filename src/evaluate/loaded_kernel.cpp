// SPDX-License-Identifier: Apache-2.0
#include "evaluate/loaded_kernel.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace quern {
namespace {

KernelLayout layout_of(const ir::Program& program, const Workload& workload,
                       const LoadedKernel::Options& options) {
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
  return layout;
}

}  // namespace

Result<void> LoadedKernel::warm_up(const ir::Program& program, const Workload& workload,
                                   const Options& options) {
  KernelMemory& memory = *options.memory;
  if (memory.process != nullptr && memory.process->waiting()) return {};
  std::vector<SharedBuffer> buffers;
  if (memory.process != nullptr) buffers = memory.process->take_buffers();
  memory.process.reset();
  if (buffers.empty()) memory.assigned.assign(static_cast<size_t>(options.slots), -1);
  QUERN_ASSIGN(memory.process,
               KernelProcess::prepare(layout_of(program, workload, options), options.limits,
                                      options.trusted, std::move(buffers)));
  return {};
}

Result<LoadedKernel> LoadedKernel::begin(const ir::Program& program, const Workload& workload,
                                         const Binary& binary, const std::string& entry,
                                         const Options& options) {
  KernelMemory own;
  Options use = options;
  if (use.memory == nullptr) use.memory = &own;
  QUERN_TRY(warm_up(program, workload, use));
  LoadedKernel kernel(program, workload, options);
  kernel.process_ = std::move(use.memory->process);
  kernel.assigned_ = std::move(use.memory->assigned);
  QUERN_TRY(kernel.process_->give(binary, entry));
  return kernel;
}

Outcome<Done> LoadedKernel::ready() {
  const bool fresh = assigned_.front() < 0;
  for (int slot = 0; slot < slots(); ++slot) {
    load(slot, workload_->twin >= 0 ? 0 : slot % static_cast<int>(workload_->datasets.size()));
  }
  if (fresh) poison();
  return process_->await_start();
}

LoadedKernel::~LoadedKernel() {
  if (process_ == nullptr || options_.memory == nullptr) return;
  process_->doom();
  *options_.memory = {std::move(process_), std::move(assigned_)};
}

Outcome<LoadedKernel> LoadedKernel::start(const ir::Program& program, const Workload& workload,
                                          const Binary& binary, const std::string& entry,
                                          const Options& options) {
  auto kernel = begin(program, workload, binary, entry, options);
  if (!kernel) return kernel.error();
  auto ready = kernel->ready();
  if (ready.has_error()) return ready.error();
  if (ready.has_verdict()) return ready.verdict();
  return std::move(*kernel);
}

/// Writes those elements of a slot in which `data` and the data set it holds differ: one is the
/// other's twin.
void LoadedKernel::alter(int slot, const Dataset& data) {
  const Dataset& twin = workload_->datasets[static_cast<size_t>(workload_->twin)];
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    const auto size = static_cast<size_t>(dtype_bytes(program_->inputs[i].type));
    std::byte* const to = process_->input(slot, static_cast<int>(i)).data();
    for (const int64_t element : twin.altered[i]) {
      const size_t at = static_cast<size_t>(element) * size;
      std::memcpy(to + at, data.inputs[i].data() + at, size);
    }
  }
}

void LoadedKernel::load(int slot, int dataset) {
  int& assigned = assigned_[static_cast<size_t>(slot)];
  if (assigned == dataset) return;
  const int before = std::exchange(assigned, dataset);
  const Dataset& data = workload_->datasets[static_cast<size_t>(dataset)];
  const int twin = workload_->twin;
  if (twin >= 0 && std::minmax(before, dataset) == std::minmax(0, twin)) {
    alter(slot, data);
    return;
  }
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    std::ranges::copy(data.inputs[i], process_->input(slot, static_cast<int>(i)).begin());
  }
}

Outcome<double> LoadedKernel::run(int calls) {
  auto ran = process_->run(calls, limit_s(calls, options_.hang_s));
  if (ran) account(*ran, calls);
  return ran;
}

Outcome<CompareReport> LoadedKernel::compare_output(int slot, size_t index) {
  const auto data = static_cast<size_t>(dataset(slot));
  return compare(process_->output(slot, static_cast<int>(index)),
                 workload().datasets[data].outputs[index], workload().policies[data]);
}

/// Whether a slot holds the data set and the results of the first one.
bool LoadedKernel::repeats(int slot) {
  if (dataset(slot) != dataset(0)) return false;
  for (size_t i = 0; i < program_->outputs().size(); ++i) {
    const auto mine = process_->output(slot, static_cast<int>(i));
    const auto first = process_->output(0, static_cast<int>(i));
    if (std::memcmp(mine.data(), first.data(), mine.size()) != 0) return false;
  }
  return true;
}

Outcome<Done> LoadedKernel::hold(int) {
  // Frozen, a candidate that reported itself done too early cannot finish behind our back.
  if (auto frozen = process_->freeze(); !frozen) return frozen;
  if (process_->canaries_ok()) return Done{};
  return Verdict(Rejected{"out_of_bounds_write", "wrote outside its outputs",
                          "guard bytes beside an output buffer were changed"});
}

Outcome<std::vector<std::byte>> LoadedKernel::outputs(int slots) {
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
