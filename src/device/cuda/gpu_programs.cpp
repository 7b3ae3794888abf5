// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/gpu_programs.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern::cuda {
namespace {

/// Calls this short are put into graphs: a launch by itself costs the host 2 to 4 µs.
constexpr double kGraphBelowNs = 200e3;
constexpr int kLargestGraph = 512;
/// Long enough for the host to queue events and a graph behind it.
constexpr double kHoldUs = 25;
/// The same for so many nodes of the graph.
constexpr double kHoldUsACall = 0.1;

Error no_such(const char* what, uint32_t id) {
  return Error{ErrorKind::kUsage, fmt::format("the device worker has no {} {}", what, id), ""};
}

}  // namespace

Result<GpuPrograms> GpuPrograms::make(Gpu& gpu, GpuBuffers& buffers, Referee* referee,
                                      const Blas* blas) {
  QUERN_ASSIGN(GpuTimer timer, GpuTimer::make(gpu));
  return GpuPrograms(gpu, buffers, referee, blas, std::move(timer));
}

Result<GpuPrograms::Program*> GpuPrograms::find(ProgramId id) {
  const auto found = programs_.find(id);
  if (found == programs_.end()) return no_such("program", id);
  return &found->second;
}

Result<const BufferSet*> GpuPrograms::set_of(ProgramId id, uint32_t set) {
  QUERN_ASSIGN(const Program* program, find(id));
  if (set >= program->sets.size()) return no_such("set of program", id);
  return &program->sets[set];
}

Result<void> GpuPrograms::enqueue(ProgramId id, uint32_t set) {
  QUERN_ASSIGN(Program * program, find(id));
  if (set >= program->calls.size()) return no_such("set of program", id);
  return gpu_->check(program->calls[set].enqueue(*gpu_), "a program of ours");
}

Result<std::vector<const GpuMemory*>> GpuPrograms::scratch_of(ProgramId id) {
  QUERN_ASSIGN(const Program* program, find(id));
  std::vector<const GpuMemory*> memories;
  for (const GpuMemory& memory : program->scratch) memories.push_back(&memory);
  return memories;
}

Result<CallBuffers> GpuPrograms::call_buffers(const BufferSet& set, const BoundPlan& plan,
                                              const std::vector<GpuMemory>& scratch) {
  CallBuffers buffers;
  const auto add = [&](BufferId id, std::vector<DevicePointer>& list) -> Result<void> {
    QUERN_TRY(buffers_->pin(id));
    QUERN_ASSIGN(const auto view, buffers_->touch(id, Access::kNone));
    list.push_back(view.data);
    return {};
  };
  for (BufferId id : set.inputs) QUERN_TRY(add(id, buffers.inputs));
  for (BufferId id : set.outputs) QUERN_TRY(add(id, buffers.outputs));
  for (size_t i = 0; i < plan.scratch.size(); ++i) {
    buffers.scratch.push_back(scratch[i].data());
    buffers.scratch_bytes.push_back(scratch[i].bytes());
  }
  return buffers;
}

Outcome<Done> GpuPrograms::check_room(const BoundPlan& plan) {
  if (plan.scratch.empty()) return Done{};
  auto free = gpu_->free_memory();
  if (!free) return free.error();
  if (plan.scratch_bytes() <= *free) return Done{};
  return Verdict(LaunchFailed{
      fmt::format("its scratch takes {} bytes; this GPU has {} left", plan.scratch_bytes(), *free),
      ""});
}

/// The module of an image. That of the last one is kept: a candidate is loaded for several
/// workloads in a row, and unloading takes the driver longer than loading.
Outcome<std::shared_ptr<GpuModule>> GpuPrograms::module_of(const std::string& image) {
  if (last_module_ != nullptr && image == last_image_) return last_module_;
  last_module_.reset();
  auto loaded = GpuModule::load(*gpu_, image);
  if (!loaded) return pass_on(loaded);
  last_module_ = std::make_shared<GpuModule>(std::move(*loaded));
  last_image_ = image;
  return last_module_;
}

Outcome<std::vector<KernelResources>> GpuPrograms::load(ProgramId id, const std::string& image,
                                                        const BoundPlan& plan,
                                                        const std::vector<BufferSet>& sets) {
  if (const auto product = read_library_image(image)) return load_library(id, *product, sets);
  auto module = module_of(image);
  if (!module) return pass_on(module);
  Program made{*module, {}, {}, {}, {}, 0};
  if (auto room = check_room(plan); !room) return pass_on(room);
  for (const BoundScratch& scratch : plan.scratch) {
    auto memory = GpuMemory::make(*gpu_, scratch.bytes, GpuMemory::Place::kLeft);
    if (!memory) return memory.error();
    if (auto filled = memory->fill(0xff); !filled) return filled.error();
    made.scratch.push_back(std::move(*memory));
  }
  for (const BufferSet& set : sets) {
    auto buffers = call_buffers(set, plan, made.scratch);
    if (!buffers) return buffers.error();
    auto call = GpuCall::make(*gpu_, *made.module, plan, *buffers);
    if (!call) return pass_on(call);
    made.calls.push_back(std::move(*call));
  }
  made.sets = sets;
  std::vector<KernelResources> resources;
  if (!made.calls.empty()) {
    for (const LaunchFit& fit : made.calls[0].fit(*gpu_)) {
      resources.push_back({fit.kernel, fit.registers, fit.local_bytes, fit.shared_bytes,
                           fit.max_threads, fit.occupancy});
    }
  }
  programs_.erase(id);
  programs_.emplace(id, std::move(made));
  return resources;
}

Outcome<std::vector<KernelResources>> GpuPrograms::load_library(
    ProgramId id, const MatrixProduct& product, const std::vector<BufferSet>& sets) {
  if (blas_ == nullptr) {
    return Verdict(LaunchFailed{"a library's call, in a worker that has no library", ""});
  }
  Program made{nullptr, {}, {}, {}, {}, 0};
  for (const BufferSet& set : sets) {
    auto buffers = call_buffers(set, {}, {});
    if (!buffers) return buffers.error();
    made.calls.push_back(GpuCall::of("cublas", [blas = blas_, product, at = std::move(*buffers)] {
      return blas->enqueue(product, at);
    }));
  }
  made.sets = sets;
  programs_.erase(id);
  programs_.emplace(id, std::move(made));
  return std::vector<KernelResources>{};
}

Result<void> GpuPrograms::unload(ProgramId id) {
  QUERN_TRY(gpu_->synchronize("unloading a program"));
  return programs_.erase(id) == 1 ? Result<void>() : no_such("program", id);
}

Result<const CallGraph*> GpuPrograms::graph_of(Program& program, int calls, int first) {
  const std::pair key{calls, first};
  if (auto found = program.graphs.find(key); found != program.graphs.end()) return &found->second;
  std::vector<const GpuCall*> order;
  for (size_t i = 0; i < program.calls.size(); ++i) {
    order.push_back(&program.calls[(i + static_cast<size_t>(first)) % program.calls.size()]);
  }
  QUERN_ASSIGN(CallGraph graph, CallGraph::record(*gpu_, order, calls));
  return &program.graphs.emplace(key, std::move(graph)).first->second;
}

Result<void> GpuPrograms::poison_scratch(ProgramId id, uint8_t byte) {
  QUERN_ASSIGN(Program * program, find(id));
  for (GpuMemory& memory : program->scratch) QUERN_TRY(memory.fill(byte));
  return {};
}

/// A verdict for what the device code did, an error for everything else.
Stopped GpuPrograms::explain(const Program& program, const Error& error) {
  if (gpu_->fault() == kSuccess) return {error};
  return {explain_fault(gpu_->driver(), gpu_->fault(), program.calls[0].last_kernel())};
}

/// Times what `enqueue` queues, so many times. The device is kept busy meanwhile, or it would be
/// done with the first event before the rest is queued.
Result<std::vector<double>> GpuPrograms::time(int batches, double hold_us,
                                              const std::function<Status()>& enqueue) {
  std::vector<double> all;
  while (static_cast<int>(all.size()) < batches) {
    if (referee_ != nullptr) QUERN_TRY(gpu_->check(referee_->hold(hold_us), "timing"));
    const int left = batches - static_cast<int>(all.size());
    QUERN_ASSIGN(const std::vector<double> ns,
                 timer_.measure(std::min(left, GpuTimer::kMaxSamples), enqueue));
    all.insert(all.end(), ns.begin(), ns.end());
  }
  return all;
}

Outcome<std::vector<double>> GpuPrograms::run_graph(Program& program, int calls, int first,
                                                    int batches) {
  const auto sets = static_cast<int>(program.calls.size());
  const int whole = std::min(calls, kLargestGraph / sets * sets);
  const int left = calls % whole;
  auto graph = graph_of(program, whole, first);
  auto rest = graph && left != 0 ? graph_of(program, left, first) : graph;
  if (!graph || !rest) {
    // What a graph cannot hold can still be launched one by one.
    if (gpu_->fault() == kSuccess) return run_singly(program, calls, first, batches);
    return explain(program, graph ? rest.error() : graph.error());
  }
  const double hold_us = kHoldUs + kHoldUsACall * std::min(calls, kLargestGraph);
  auto ns = time(batches, hold_us, [&] {
    Status status = kSuccess;
    for (int i = 0; i < calls / whole && status == kSuccess; ++i) status = (*graph)->launch();
    if (status == kSuccess && left != 0) status = (*rest)->launch();
    return status;
  });
  if (!ns) return explain(program, ns.error());
  return std::move(*ns);
}

Outcome<std::vector<double>> GpuPrograms::run_singly(Program& program, int calls, int first,
                                                     int batches) {
  bool refused = false;
  Status refusal = kSuccess;
  auto ns = time(batches, kHoldUs, [&] {
    for (int i = 0; i < calls; ++i) {
      const auto set = static_cast<size_t>(first + i) % program.calls.size();
      refusal = program.calls[set].enqueue(*gpu_);
      refused = refusal != kSuccess && !is_device_fault(refusal);
      if (refusal != kSuccess) return refusal;
    }
    return refusal;
  });
  if (ns) return std::move(*ns);
  if (!refused) return explain(program, ns.error());
  return Verdict(
      LaunchFailed{fmt::format("launch {}: the driver refuses it: {}",
                               program.calls[0].last_kernel(), gpu_->driver().text(refusal)),
                   ""});
}

Outcome<std::vector<double>> GpuPrograms::run_batches(ProgramId id, int calls, int first,
                                                      int batches) {
  auto found = find(id);
  if (!found) return found.error();
  Program& program = **found;
  if (calls < 1 || first < 0 || batches < 1 || program.calls.empty()) {
    return no_such("calls of program", id);
  }
  first %= static_cast<int>(program.calls.size());
  if (auto hidden = buffers_->protect(); !hidden) return hidden.error();
  // One call for every set is a look at results, which is not repeated often enough for a graph.
  const bool batched = program.call_ns > 0 && program.call_ns < kGraphBelowNs &&
                       calls > static_cast<int>(program.calls.size());
  auto ns = batched ? run_graph(program, calls, first, batches)
                    : run_singly(program, calls, first, batches);
  if (!ns) return ns;
  const double mean = *std::ranges::min_element(*ns) / calls;
  program.call_ns = program.call_ns == 0 ? mean : std::min(program.call_ns, mean);
  if (referee_ == nullptr || (!batched && batches == 1)) return ns;
  auto clock = referee_->last_hold();
  if (!clock) return clock.error();
  clock_mhz_ = 1e3 * clock->ghz();
  return ns;
}

/// Passes take the sets of buffers in turn, as timed calls do: caches are as cold.
Outcome<Profile> GpuPrograms::profile(ProgramId id, Counters& counters) {
  auto found = find(id);
  if (!found) return found.error();
  const Program& program = **found;
  if (program.calls.empty()) return no_such("calls of program", id);
  if (auto hidden = buffers_->protect(); !hidden) return hidden.error();
  std::vector<std::string> kernels;
  for (const LaunchFit& fit : program.calls[0].fit(*gpu_)) kernels.push_back(fit.kernel);
  size_t calls = 0;
  auto profile = counters.read(
      kernels, [&] { return program.calls[calls++ % program.calls.size()].enqueue(*gpu_); });
  if (profile) return std::move(*profile);
  return explain(program, profile.error());
}

}  // namespace quern::cuda
