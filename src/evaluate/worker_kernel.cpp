// SPDX-License-Identifier: Apache-2.0
#include "evaluate/worker_kernel.h"

#include <utility>

#include "verify/oracle.h"

namespace quern {
namespace {

/// Scratch holds NaNs in one run and large numbers in the next: what reads it before it is written
/// gives different results.
constexpr uint8_t kScratchPatterns[] = {0xff, 0x7f};

}  // namespace

Outcome<std::unique_ptr<WorkerKernel>> WorkerKernel::start(
    const ir::Program& program, const Workload& workload, DeviceSession& session,
    const std::string& image, const BoundPlan& plan, const Options& options) {
  std::unique_ptr<WorkerKernel> kernel(new WorkerKernel(program, workload, session, options));
  kernel->resident_ = &session.resident(program, workload, options.slots, options.placement);
  kernel->assigned_ = kernel->resident_->assigned;
  for (int slot = 0; slot < options.slots; ++slot) {
    const int datasets = static_cast<int>(workload.datasets.size());
    kernel->load(slot, workload.twin >= 0 ? 0 : slot % datasets);
  }
  if (kernel->failure_) return *kernel->failure_;
  kernel->program_id_ = session.next_program();
  auto loaded = kernel->worker().load(kernel->program_id_, image, plan, kernel->resident_->sets,
                                      options.load_s);
  if (!loaded) return pass_on(loaded);
  kernel->resources_ = std::move(*loaded);
  static_cast<RunnableKernel&>(*kernel).poison();
  return kernel;
}

WorkerKernel::~WorkerKernel() {
  if (resident_ != nullptr) resident_->assigned = assigned_;
  if (program_id_ != 0) worker().unload(program_id_);
}

void WorkerKernel::load(int slot, int dataset) {
  int& assigned = assigned_[static_cast<size_t>(slot)];
  if (assigned == dataset || failure_) return;
  assigned = dataset;
  if (DeviceData* kept = session_->data()) {
    auto loaded = kept->load(*program_, *workload_, dataset, set(slot));
    if (!loaded) failure_ = pass_on(loaded);
    if (!loaded || *loaded) return;
  }
  const Dataset& data = workload_->datasets[static_cast<size_t>(dataset)];
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    const BufferId id = set(slot).inputs[i];
    auto uploaded = worker().upload(id, data.inputs[i]);
    if (!uploaded) {
      failure_ = pass_on(uploaded);
      return;
    }
    worker().allow(id, DeviceAccess::kRead);
  }
}

void WorkerKernel::poison(int slot) {
  for (const BufferId id : set(slot).outputs) worker().fill(id, 0xff);
  if (slot == 0) worker().poison_scratch(program_id_, kScratchPatterns[poisonings_++ % 2]);
}

Outcome<double> WorkerKernel::run(int calls) {
  if (failure_) return *failure_;
  auto ran = worker().run(program_id_, calls, 0, limit_s(calls, options_.hang_s));
  if (ran) account(*ran, calls);
  return ran;
}

Outcome<bool> WorkerKernel::guards_intact() {
  std::vector<BufferId> ids;
  for (const BufferSet& one : resident_->sets) {
    ids.insert(ids.end(), one.inputs.begin(), one.inputs.end());
    ids.insert(ids.end(), one.outputs.begin(), one.outputs.end());
  }
  auto intact = worker().guards_intact(ids);
  if (!intact || !*intact) return intact;
  return worker().scratch_guards_intact(program_id_);
}

Outcome<Done> WorkerKernel::hold() {
  if (failure_) return *failure_;
  auto intact = guards_intact();
  if (!intact) return pass_on(intact);
  if (*intact) return Done{};
  return Verdict(Rejected{"out_of_bounds_write", "wrote outside its outputs and scratch",
                          "guard bytes beside a buffer, or an input, were changed"});
}

Outcome<std::vector<std::byte>> WorkerKernel::read_output(int slot, size_t index) {
  std::vector<std::byte> bytes(output_bytes(*program_, workload_->sizes)[index]);
  auto read = worker().download(set(slot).outputs[index], bytes);
  if (!read) return pass_on(read);
  return bytes;
}

Outcome<CompareReport> WorkerKernel::compare_output(int slot, size_t index) {
  const auto data = static_cast<size_t>(dataset(slot));
  if (DeviceData* kept = session_->data()) {
    auto compared = kept->compare(*workload_, dataset(slot), index, set(slot).outputs[index]);
    if (!compared) return pass_on(compared);
    if (compared->has_value()) return std::move(**compared);
  }
  auto bytes = read_output(slot, index);
  if (!bytes) return pass_on(bytes);
  return compare(*bytes, workload_->datasets[data].outputs[index], workload_->policies[data]);
}

Outcome<std::vector<std::byte>> WorkerKernel::outputs(int slots) {
  std::vector<std::byte> all;
  const size_t count = program_->outputs().size();
  for (int slot = 0; slot < slots; ++slot) {
    for (size_t i = 0; i < count; ++i) {
      auto bytes = read_output(slot, i);
      if (!bytes) return pass_on(bytes);
      all.insert(all.end(), bytes->begin(), bytes->end());
    }
  }
  return all;
}

}  // namespace quern
