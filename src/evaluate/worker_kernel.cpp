// SPDX-License-Identifier: Apache-2.0
#include "evaluate/worker_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "verify/oracle.h"

namespace quern {
namespace {

/// Scratch holds NaNs in one run and large numbers in the next: what reads it before it is written
/// gives different results.
/// Below this share of a device's clock, times are noted as doubtful.
constexpr double kLowClock = 0.75;
constexpr uint8_t kScratchPatterns[] = {0xff, 0x7f};

/// Reading counters takes the profiler some tenths of a second, and calls the candidate this often
/// at most.
constexpr double kPassesS = 20;
constexpr int kMostPasses = 60;

DrawOrder order_of(const InputDraw& draw) {
  DrawOrder order;
  order.type = draw.type;
  order.spec = draw.spec;
  order.seed = draw.seed;
  if (draw.shape.size() < 2) return order;
  order.structure = static_cast<DrawOrder::Structure>(draw.structure);
  order.side = static_cast<uint64_t>(draw.shape.back());
  return order;
}

Verdict wrote_outside() {
  return Rejected{"out_of_bounds_write", "wrote outside its outputs and scratch",
                  "guard bytes beside a buffer, or an input, were changed"};
}

}  // namespace

Outcome<std::unique_ptr<WorkerKernel>> WorkerKernel::start(
    const ir::Program& program, const Workload& workload, DeviceSession& session,
    const std::string& image, const BoundPlan& plan, const Options& options) {
  std::unique_ptr<WorkerKernel> kernel(new WorkerKernel(program, workload, session, options));
  kernel->resident_ = &session.resident(program, workload, options.slots, options.placement);
  kernel->assigned_ = kernel->resident_->assigned;
  if (options.oracle != nullptr) {
    auto oracle = session.oracle(program, workload, *options.oracle, *kernel->resident_);
    if (!oracle) return pass_on(oracle);
    kernel->oracle_ = *oracle;
  }
  for (int slot = 0; slot < options.slots; ++slot) {
    const int datasets = static_cast<int>(workload.datasets.size());
    // Which data set the timed shape begins with does not matter.
    if (workload.twin >= 0 && kernel->dataset(slot) >= 0) continue;
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
  if (program_id_ != 0 && options_.asks_caches) session_->forget_kept();
}

void WorkerKernel::load(int slot, int dataset) {
  int& assigned = assigned_[static_cast<size_t>(slot)];
  if (assigned == dataset || failure_) return;
  const int before = std::exchange(assigned, dataset);
  if (oracle_ != nullptr) return draw_inputs(slot, before, dataset);
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

/// What was drawn once comes back; a data set and its twin differ in few places: from one to the
/// other, those alone are drawn.
void WorkerKernel::draw_inputs(int slot, int before, int dataset) {
  if (session_->recall(*resident_, slot, before, dataset)) return;
  if (before >= 0 && session_->put_aside(*resident_, slot, before)) before = -1;
  const int twin = workload_->twin;
  const bool is_twin = dataset == twin && twin >= 0;
  const Dataset& origin = workload_->datasets[is_twin ? 0 : static_cast<size_t>(dataset)];
  const std::vector<InputDraw> draws =
      input_draws(*program_, workload_->sizes, origin.mix, origin.seed);
  const bool from_origin = is_twin && before == 0, from_twin = before == twin && dataset == 0;
  if (!from_origin && !(twin >= 0 && from_twin)) draw_all(slot, draws);
  if (is_twin) {
    const uint64_t seed = workload_->datasets[static_cast<size_t>(twin)].twin_seed;
    alter(slot, input_draws(*program_, workload_->sizes, origin.mix, seed));
  } else if (twin >= 0 && from_twin) {
    alter(slot, draws);
  }
}

void WorkerKernel::draw_all(int slot, const std::vector<InputDraw>& draws) {
  for (size_t i = 0; i < draws.size(); ++i) {
    worker().draw(set(slot).inputs[i], order_of(draws[i]));
    worker().allow(set(slot).inputs[i], DeviceAccess::kRead);
  }
}

/// Draws the places in which a data set and its twin differ.
void WorkerKernel::alter(int slot, const std::vector<InputDraw>& draws) {
  const uint64_t places = workload_->datasets[static_cast<size_t>(workload_->twin)].twin_seed;
  for (size_t i = 0; i < draws.size(); ++i) {
    if (!draws[i].alters) continue;
    worker().alter(set(slot).inputs[i], order_of(draws[i]), places);
    worker().allow(set(slot).inputs[i], DeviceAccess::kRead);
  }
}

void WorkerKernel::poison(int slot) {
  digests_.clear();
  for (const BufferId id : set(slot).outputs) worker().fill(id, 0xff);
  if (slot == 0) worker().poison_scratch(program_id_, kScratchPatterns[poisonings_++ % 2]);
}

Outcome<double> WorkerKernel::run(int calls) {
  auto ran = run_batches(calls, 1);
  if (!ran) return pass_on(ran);
  return ran->front();
}

Outcome<std::vector<double>> WorkerKernel::run_batches(int calls, int batches) {
  if (failure_) return *failure_;
  digests_.clear();
  auto ran =
      worker().run(program_id_, calls, 0, batches, limit_s(calls * batches, options_.hang_s));
  if (!ran) return ran;
  for (const double ns : *ran) account(ns, calls);
  const double clock = worker().last_clock_mhz();
  if (clock > 0 && (lowest_clock_mhz_ == 0 || clock < lowest_clock_mhz_)) lowest_clock_mhz_ = clock;
  return ran;
}

Outcome<Profile> WorkerKernel::profile() {
  if (failure_) return *failure_;
  return worker().profile(program_id_, kPassesS + kMostPasses * limit_s(1, options_.hang_s));
}

std::vector<std::string> WorkerKernel::notes() const {
  std::vector<std::string> notes = worker().sandbox_notes();
  const double full = worker().properties().clock_mhz;
  if (lowest_clock_mhz_ > 0 && lowest_clock_mhz_ < kLowClock * full) {
    notes.push_back(
        fmt::format("the device ran at {:.0f} of {:.0f} MHz while it was timed: it may "
                    "be too hot, or short of power",
                    lowest_clock_mhz_, full));
  }
  return notes;
}

Outcome<bool> WorkerKernel::ask(int slots, InspectOrder& order) {
  DeviceData* kept = session_->data();
  for (int slot = 0; slot < slots; ++slot) {
    if (oracle_ != nullptr) {
      oracle_->ask(slot, dataset(slot), order);
      continue;
    }
    for (size_t i = 0; i < set(slot).outputs.size(); ++i) {
      if (kept == nullptr) return false;
      auto compare = kept->ask(*workload_, dataset(slot), i, set(slot).outputs[i]);
      if (!compare) return pass_on(compare);
      if (!compare->has_value()) return false;
      order.compares.push_back(**compare);
    }
  }
  return true;
}

Outcome<Done> WorkerKernel::hold(int slots) {
  if (failure_) return *failure_;
  InspectOrder order;
  for (const BufferSet& one : resident_->sets) {
    order.guarded.insert(order.guarded.end(), one.inputs.begin(), one.inputs.end());
    order.guarded.insert(order.guarded.end(), one.outputs.begin(), one.outputs.end());
  }
  order.scratch_of = program_id_;
  found_.clear();
  const bool remembers = options_.known != nullptr && session_->data() != nullptr;
  if (!remembers) return compare_held(slots, std::move(order));
  digest(slots, order);
  if (!options_.known->knows({workload_, dataset(0), 0})) {
    auto compared = compare_held(slots, std::move(order));
    if (compared) remember_found(slots);
    return compared;
  }
  auto inspection = worker().inspect(order);
  if (!inspection) return pass_on(inspection);
  if (!inspection->intact) return wrote_outside();
  digests_ = std::move(inspection->digests);
  if (recall_found(slots)) return Done{};
  InspectOrder rest;
  digest(slots, rest);
  auto compared = compare_held(slots, std::move(rest));
  if (compared) remember_found(slots);
  return compared;
}

/// Carries out an inspection, with a comparison of every output where the device can do that.
Outcome<Done> WorkerKernel::compare_held(int slots, InspectOrder order) {
  auto asked = ask(slots, order);
  if (!asked) return pass_on(asked);
  if (!*asked) order.compares.clear();
  auto inspection = worker().inspect(order);
  if (!inspection) return pass_on(inspection);
  if (!inspection->intact) return wrote_outside();
  found_ = std::move(inspection->counts);
  digests_ = std::move(inspection->digests);
  return Done{};
}

void WorkerKernel::digest(int slots, InspectOrder& order) const {
  order.digest_seed = options_.digest_seed;
  for (int slot = 0; slot < slots; ++slot) {
    std::ranges::copy(set(slot).outputs, std::back_inserter(order.digested));
  }
}

/// Whether all held outputs are known; what was found of them then.
bool WorkerKernel::recall_found(int slots) {
  const size_t outputs = resident_->sets.front().outputs.size();
  std::vector<CompareCounts> found;
  for (size_t at = 0; at < static_cast<size_t>(slots) * outputs; ++at) {
    const int data = dataset(static_cast<int>(at / outputs));
    const auto known = options_.known->find({workload_, data, at % outputs}, digests_[at]);
    if (!known) return false;
    found.push_back(*known);
  }
  found_ = std::move(found);
  return true;
}

void WorkerKernel::remember_found(int slots) {
  const size_t outputs = resident_->sets.front().outputs.size();
  const size_t count = static_cast<size_t>(slots) * outputs;
  if (found_.size() != count || digests_.size() != count) return;
  for (size_t at = 0; at < count; ++at) {
    const int data = dataset(static_cast<int>(at / outputs));
    options_.known->add({workload_, data, at % outputs}, digests_[at], found_[at]);
  }
}

Outcome<std::vector<std::byte>> WorkerKernel::read_output(int slot, size_t index) {
  std::vector<std::byte> bytes(output_bytes(*program_, workload_->sizes)[index]);
  auto read = worker().download(set(slot).outputs[index], bytes);
  if (!read) return pass_on(read);
  return bytes;
}

Outcome<CompareReport> WorkerKernel::compare_output(int slot, size_t index) {
  const auto data = static_cast<size_t>(dataset(slot));
  const ExpectedOutput& expected = workload_->datasets[data].outputs[index];
  if (!found_.empty()) {
    const size_t at = static_cast<size_t>(slot) * set(slot).outputs.size() + index;
    return report_of(found_[at], expected);
  }
  auto bytes = read_output(slot, index);
  if (!bytes) return pass_on(bytes);
  return compare(*bytes, expected, workload_->policies[data]);
}

Outcome<std::vector<std::byte>> WorkerKernel::outputs(int slots) {
  std::vector<std::byte> all;
  if (session_->data() != nullptr) {
    const size_t count = static_cast<size_t>(slots) * resident_->sets.front().outputs.size();
    if (digests_.size() != count) {
      InspectOrder order;
      digest(slots, order);
      auto inspection = worker().inspect(order);
      if (!inspection) return pass_on(inspection);
      digests_ = std::move(inspection->digests);
    }
    std::ranges::copy(std::as_bytes(std::span(digests_)), std::back_inserter(all));
    return all;
  }
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
