// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/cuda_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>

#include "base/file.h"
#include "device/cuda/blas.h"
#include "device/cuda/counters.h"
#include "device/cuda/gpu.h"
#include "device/cuda/gpu_buffers.h"
#include "device/cuda/gpu_call.h"
#include "device/cuda/gpu_memory.h"
#include "device/cuda/gpu_timer.h"
#include "device/cuda/referee.h"

namespace quern::cuda {
namespace {

constexpr uint8_t kGuard = 0xa5;
/// Calls this short are put into graphs: a launch by itself costs the host 2 to 4 µs.
constexpr double kGraphBelowNs = 200e3;
constexpr int kLargestGraph = 512;
/// Long enough for the host to queue events and a graph behind it.
constexpr double kHoldUs = 25;

Access access_of(DeviceAccess access) {
  switch (access) {
    case DeviceAccess::kNone:
      return Access::kNone;
    case DeviceAccess::kRead:
      return Access::kRead;
    case DeviceAccess::kReadWrite:
      break;
  }
  return Access::kReadWrite;
}

Error no_such(const char* what, uint32_t id) {
  return Error{ErrorKind::kUsage, fmt::format("the device worker has no {} {}", what, id), ""};
}

/// A candidate, loaded: its code, its scratch, and a call for every set of buffers.
struct Program {
  std::shared_ptr<GpuModule> module;
  std::vector<GpuMemory> scratch;
  std::vector<GpuCall> calls;
  std::vector<BufferSet> sets;                      ///< of the calls
  std::map<std::pair<int, int>, CallGraph> graphs;  ///< by number of calls and first set
  double call_ns = 0;                               ///< of the shortest call so far; 0: none yet
};

class CudaBackend : public DeviceBackend {
 public:
  explicit CudaBackend(CudaBackendOptions options) : options_(std::move(options)) {}

  Result<DeviceProperties> open() override;
  Outcome<DeviceBinary> compile(const DeviceCompileJob&) override {
    return Error{ErrorKind::kUsage, "CUDA sources are compiled by quern-nvrtc", ""};
  }

  Result<void> allocate(BufferId id, uint64_t bytes, Placement placement) override;
  Result<void> release(BufferId id) override;
  Result<void> allow(BufferId id, DeviceAccess access) override;
  Result<void> upload(BufferId id, std::span<const std::byte> bytes) override;
  Result<void> download(BufferId id, std::span<std::byte> bytes) override;
  Result<void> copy(BufferId to, BufferId from) override;
  Result<void> fill(BufferId id, uint8_t byte) override;
  Result<bool> guards_intact(BufferId id) override { return all_guards_intact({id}); }
  Result<bool> all_guards_intact(const std::vector<BufferId>& ids) override;
  Result<void> draw(BufferId id, const DrawOrder& order) override;
  Result<void> alter(BufferId id, const DrawOrder& order, uint64_t places) override;
  Result<Inspection> inspect(const InspectOrder& order) override;
  Result<void> apply(ProgramId id, uint32_t set) override;

  Outcome<std::vector<KernelResources>> load(ProgramId id, const std::string& image,
                                             const BoundPlan& plan,
                                             const std::vector<BufferSet>& sets) override;
  Result<void> unload(ProgramId id) override;
  Result<void> poison_scratch(ProgramId id, uint8_t byte) override;
  Result<bool> scratch_guards_intact(ProgramId id) override;
  Outcome<double> run(ProgramId id, int calls, int first) override;
  Outcome<Profile> profile(ProgramId id) override;

 private:
  void open_counters();
  Outcome<std::vector<KernelResources>> load_library(ProgramId id, const MatrixProduct& product,
                                                     const std::vector<BufferSet>& sets);
  Result<Program*> program(ProgramId id);
  Result<void> set_bytes(DevicePointer at, uint64_t bytes, uint8_t value);
  Result<void> fill_memory(GpuMemory& memory, uint8_t byte);
  Result<std::vector<const GpuMemory*>> memories_of(const std::vector<BufferId>& ids);
  std::vector<const GpuMemory*> scratch_of(const Program& program) const;
  Result<bool> intact(const std::vector<const GpuMemory*>& memories);
  Result<void> queue_guards(Referee& judge, const std::vector<const GpuMemory*>& memories);
  Result<void> queue_comparison(Referee& judge, const CompareOrder& order);
  Result<CompareCounts> counts_of(Referee& judge, const CompareOrder& order,
                                  const GpuComparison& found);
  Result<Referee*> referee();
  Result<CallBuffers> call_buffers(const BufferSet& set, const BoundPlan& plan,
                                   const std::vector<GpuMemory>& scratch);
  Outcome<Done> check_room(const BoundPlan& plan);
  Outcome<std::shared_ptr<GpuModule>> module_of(const std::string& image);
  Result<const CallGraph*> graph_of(Program& program, int calls, int first);
  Result<double> time(const std::function<Status()>& enqueue);
  Outcome<double> run_singly(Program& program, int calls, int first);
  Outcome<double> run_graph(Program& program, int calls, int first);
  /// A verdict for what the device code did, an error for everything else.
  template <class T>
  Outcome<double> answer(const Program& program, const Result<T>& result, double ns);

  CudaBackendOptions options_;
  std::unique_ptr<Gpu> gpu_;
  std::optional<Referee> referee_;
  std::optional<GpuTimer> timer_;
  std::unique_ptr<Blas> blas_;
  std::unique_ptr<Counters> counters_;
  std::optional<Error> refused_;  ///< why there are none
  std::optional<GpuBuffers> buffers_;
  std::map<ProgramId, Program> programs_;
  std::shared_ptr<GpuModule> last_module_;
  std::string last_image_;
};

Result<DeviceProperties> CudaBackend::open() {
  QUERN_ASSIGN(std::unique_ptr<Driver> driver, Driver::open(options_.driver));
  QUERN_ASSIGN(gpu_, Gpu::open(std::move(driver), options_.device));
  // Device code gets no memory but its buffers.
  const Driver& api = gpu_->driver();
  (void)api.context_set_limit(Limit::kHeapBytes, 0);
  (void)api.context_set_limit(Limit::kPrintfBytes, 1 << 16);
  buffers_.emplace(*gpu_);
  QUERN_ASSIGN(GpuTimer timer, GpuTimer::make(*gpu_));
  timer_.emplace(std::move(timer));
  if (options_.referee.empty() && file_exists(options_.referee_path)) {
    QUERN_ASSIGN(options_.referee, read_file(options_.referee_path));
  }
  if (!options_.referee.empty()) {
    QUERN_ASSIGN(Referee referee, Referee::load(*gpu_, options_.referee));
    referee_.emplace(std::move(referee));
  }
  open_counters();
  if (!options_.library.empty()) {
    QUERN_ASSIGN(blas_, Blas::open(*gpu_, options_.library));
  }
  const GpuProperties& gpu = gpu_->properties();
  DeviceProperties p;
  p.kind = "cuda";
  p.name = gpu.name;
  p.platform = fmt::format("CUDA {}.{}", gpu.driver_version / 1000, gpu.driver_version % 1000 / 10);
  p.driver = p.platform;
  p.uuid = gpu.uuid;
  p.architecture = gpu.architecture();
  p.compute_units = gpu.multiprocessors;
  p.memory_bytes = static_cast<uint64_t>(gpu.memory_bytes);
  p.largest_buffer_bytes = p.memory_bytes;
  p.shared_bytes = static_cast<uint64_t>(gpu.shared_per_block_opt_in);
  p.cache_bytes = static_cast<uint64_t>(gpu.l2_bytes);
  p.max_block_threads = gpu.max_threads_per_block;
  p.clock_mhz = gpu.clock_khz * 1e-3;
  p.draws = p.compares = referee_.has_value();
  return p;
}

/// Reads once, before there is a candidate: what that loads is there when the process is confined.
void CudaBackend::open_counters() {
  if (options_.counters.empty()) {
    refused_ = Error{ErrorKind::kUsage, "this device worker reads no hardware counters", ""};
    return;
  }
  auto opened = Counters::open(*gpu_, options_.counters);
  if (!opened) {
    refused_ = opened.error();
    return;
  }
  counters_ = std::move(*opened);
  if (!referee_) return;
  auto tried = counters_->read({"hold"}, [this] { return referee_->hold(1); });
  if (tried) return;
  refused_ = tried.error();
  counters_.reset();
}

Result<Program*> CudaBackend::program(ProgramId id) {
  const auto found = programs_.find(id);
  if (found == programs_.end()) return no_such("program", id);
  return &found->second;
}

Result<Referee*> CudaBackend::referee() {
  if (!referee_) return Error{ErrorKind::kUsage, "the device worker has no kernels of ours", ""};
  return &*referee_;
}

Result<void> CudaBackend::allocate(BufferId id, uint64_t bytes, Placement placement) {
  return buffers_->allocate(id, bytes, placement);
}

Result<void> CudaBackend::release(BufferId id) { return buffers_->release(id); }

Result<void> CudaBackend::allow(BufferId id, DeviceAccess access) {
  return buffers_->allow(id, access_of(access));
}

Result<void> CudaBackend::upload(BufferId id, std::span<const std::byte> bytes) {
  QUERN_ASSIGN(const auto to, buffers_->touch(id, Access::kReadWrite));
  if (bytes.size() > to.bytes) return no_such("room for an upload to buffer", id);
  QUERN_TRY(gpu_->check(
      gpu_->driver().copy_to_device(to.data, bytes.data(), bytes.size(), gpu_->stream()),
      "copying to the GPU"));
  return gpu_->synchronize("copying to the GPU");
}

Result<void> CudaBackend::download(BufferId id, std::span<std::byte> bytes) {
  QUERN_ASSIGN(const auto from, buffers_->touch(id, Access::kRead));
  if (bytes.size() > from.bytes) return no_such("as much to download in buffer", id);
  QUERN_TRY(gpu_->check(
      gpu_->driver().copy_to_host(bytes.data(), from.data, bytes.size(), gpu_->stream()),
      "copying from the GPU"));
  return gpu_->synchronize("copying from the GPU");
}

Result<void> CudaBackend::copy(BufferId to, BufferId from) {
  QUERN_ASSIGN(const auto target, buffers_->touch(to, Access::kReadWrite));
  QUERN_ASSIGN(const auto source, buffers_->touch(from, Access::kRead));
  const uint64_t bytes = std::min(target.bytes, source.bytes);
  return gpu_->check(gpu_->driver().copy_on_device(target.data, source.data, bytes, gpu_->stream()),
                     "copying on the GPU");
}

Result<void> CudaBackend::set_bytes(DevicePointer at, uint64_t bytes, uint8_t value) {
  if (bytes == 0) return {};
  return gpu_->check(gpu_->driver().set_bytes(at, value, bytes, gpu_->stream()), "filling");
}

Result<void> CudaBackend::fill_memory(GpuMemory& memory, uint8_t byte) {
  QUERN_TRY(set_bytes(memory.before(), memory.before_bytes(), kGuard));
  QUERN_TRY(set_bytes(memory.data(), memory.bytes(), byte));
  return set_bytes(memory.after(), memory.after_bytes(), kGuard);
}

Result<void> CudaBackend::fill(BufferId id, uint8_t byte) {
  QUERN_ASSIGN(const auto view, buffers_->touch(id, Access::kReadWrite));
  QUERN_ASSIGN(GpuMemory * memory, buffers_->writable(id));
  return memory != nullptr ? fill_memory(*memory, byte) : set_bytes(view.data, view.bytes, byte);
}

Result<void> CudaBackend::queue_guards(Referee& judge,
                                       const std::vector<const GpuMemory*>& memories) {
  std::vector<Referee::Stretch> stretches;
  for (const GpuMemory* memory : memories) {
    stretches.push_back({memory->before(), memory->before_bytes()});
    stretches.push_back({memory->after(), memory->after_bytes()});
  }
  return judge.count_other_bytes(stretches, kGuard);
}

Result<bool> CudaBackend::intact(const std::vector<const GpuMemory*>& memories) {
  QUERN_ASSIGN(Referee * judge, referee());
  QUERN_TRY(gpu_->check(judge->begin_findings(), "guards"));
  QUERN_TRY(queue_guards(*judge, memories));
  QUERN_ASSIGN(const auto found, judge->findings());
  return found.other_bytes == 0;
}

/// The memory of those that candidates may write: a write to others would have faulted.
Result<std::vector<const GpuMemory*>> CudaBackend::memories_of(const std::vector<BufferId>& ids) {
  std::vector<const GpuMemory*> memories;
  for (const BufferId id : ids) {
    QUERN_ASSIGN(const GpuMemory* memory, buffers_->writable(id));
    if (memory != nullptr) memories.push_back(memory);
  }
  return memories;
}

std::vector<const GpuMemory*> CudaBackend::scratch_of(const Program& program) const {
  std::vector<const GpuMemory*> memories;
  for (const GpuMemory& memory : program.scratch) memories.push_back(&memory);
  return memories;
}

Result<bool> CudaBackend::all_guards_intact(const std::vector<BufferId>& ids) {
  QUERN_ASSIGN(const auto memories, memories_of(ids));
  return intact(memories);
}

Result<void> CudaBackend::draw(BufferId id, const DrawOrder& order) {
  QUERN_ASSIGN(const auto to, buffers_->touch(id, Access::kReadWrite));
  QUERN_ASSIGN(Referee * judge, referee());
  if (order.spec.kind == FillKind::kWide) {
    // Its exp and log are the C library's, which the GPU's do not match in the last place.
    std::vector<std::byte> drawn(to.bytes);
    quern::fill(drawn, order.type, order.spec, order.seed);
    QUERN_TRY(upload(id, drawn));
  } else {
    QUERN_TRY(judge->fill(to.data, to.bytes, order.type, order.spec, order.seed));
  }
  return judge->impose(to.data, to.bytes, order.type, static_cast<uint32_t>(order.structure),
                       order.side);
}

Result<void> CudaBackend::alter(BufferId id, const DrawOrder& order, uint64_t places) {
  if (order.spec.kind == FillKind::kWide) {
    return Error{ErrorKind::kUsage, "a wide range is not drawn in places", ""};
  }
  QUERN_ASSIGN(const auto to, buffers_->touch(id, Access::kReadWrite));
  QUERN_ASSIGN(Referee * judge, referee());
  return judge->alter(to.data, to.bytes, order.type, order.spec, order.seed, places);
}

Result<void> CudaBackend::apply(ProgramId id, uint32_t set) {
  QUERN_ASSIGN(Program * found, program(id));
  if (set >= found->calls.size()) return no_such("set of program", id);
  for (const BufferId input : found->sets[set].inputs) {
    QUERN_TRY(buffers_->touch(input, Access::kRead));
  }
  for (const BufferId output : found->sets[set].outputs) {
    QUERN_TRY(buffers_->touch(output, Access::kReadWrite));
  }
  return gpu_->check(found->calls[set].enqueue(*gpu_), "a program of ours");
}

Result<void> CudaBackend::queue_comparison(Referee& judge, const CompareOrder& order) {
  QUERN_ASSIGN(const auto got, buffers_->touch(order.got, Access::kRead));
  const auto size = static_cast<uint64_t>(dtype_bytes(order.type));
  bool fits = order.elements <= got.bytes / size;
  if (order.oracle != 0) {
    QUERN_ASSIGN(Program * oracle, program(order.oracle));
    if (!fits || order.set >= oracle->sets.size() ||
        order.output >= oracle->sets[order.set].outputs.size()) {
      return no_such("such outputs of oracle", order.oracle);
    }
    const BufferId found = oracle->sets[order.set].outputs[order.output];
    QUERN_ASSIGN(const auto view, buffers_->touch(found, Access::kReadWrite));
    // One call looks at all outputs.
    if (order.output == 0) QUERN_TRY(apply(order.oracle, order.set));
    return judge.note_found(view.data);
  }
  QUERN_ASSIGN(const auto value, buffers_->touch(order.value, Access::kRead));
  QUERN_ASSIGN(const auto scale, buffers_->touch(order.scale, Access::kRead));
  fits = fits && order.elements <= value.bytes / 8 && order.elements <= scale.bytes / 8;
  if (!fits) return no_such("as many elements to compare in buffer", order.got);
  return judge.compare(got.data, order.elements * size, order.type, value.data, scale.data,
                       order.factor, order.bitwise);
}

Result<CompareCounts> CudaBackend::counts_of(Referee& judge, const CompareOrder& order,
                                             const GpuComparison& found) {
  CompareCounts counts;
  counts.wrong = static_cast<uint64_t>(found.wrong);
  counts.unwritten = static_cast<uint64_t>(found.unwritten);
  counts.compared = static_cast<uint64_t>(found.compared);
  counts.inexact = static_cast<uint64_t>(found.inexact);
  counts.max_error = found.max_error;
  if (found.compared > 0) {
    counts.rms_error = std::sqrt(found.sum_squares / static_cast<double>(found.compared));
  }
  if (found.worst_index < 0) return counts;
  counts.worst = static_cast<uint64_t>(found.worst_index);
  counts.worst_expected = found.worst_expected;
  QUERN_ASSIGN(const auto got, buffers_->touch(order.got, Access::kRead));
  QUERN_ASSIGN(counts.worst_got, judge.element(got.data, order.type, counts.worst));
  return counts;
}

/// Everything is queued before anything is waited for.
Result<Inspection> CudaBackend::inspect(const InspectOrder& order) {
  QUERN_ASSIGN(Referee * judge, referee());
  QUERN_ASSIGN(auto guarded, memories_of(order.guarded));
  if (order.scratch_of != 0) {
    QUERN_ASSIGN(Program * owner, program(order.scratch_of));
    std::ranges::copy(scratch_of(*owner), std::back_inserter(guarded));
  }
  QUERN_TRY(gpu_->check(judge->begin_findings(), "inspecting"));
  QUERN_TRY(queue_guards(*judge, guarded));
  for (const CompareOrder& compare : order.compares) QUERN_TRY(queue_comparison(*judge, compare));
  for (const BufferId id : order.digested) {
    QUERN_ASSIGN(const auto view, buffers_->touch(id, Access::kRead));
    QUERN_TRY(judge->digest(view.data, view.bytes, order.digest_seed));
  }
  QUERN_ASSIGN(auto found, judge->findings());
  Inspection inspection;
  inspection.intact = found.other_bytes == 0;
  inspection.digests = std::move(found.digests);
  for (size_t i = 0; i < order.compares.size(); ++i) {
    QUERN_ASSIGN(CompareCounts counts, counts_of(*judge, order.compares[i], found.comparisons[i]));
    inspection.counts.push_back(counts);
  }
  return inspection;
}

Result<CallBuffers> CudaBackend::call_buffers(const BufferSet& set, const BoundPlan& plan,
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

Outcome<Done> CudaBackend::check_room(const BoundPlan& plan) {
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
Outcome<std::shared_ptr<GpuModule>> CudaBackend::module_of(const std::string& image) {
  if (last_module_ != nullptr && image == last_image_) return last_module_;
  last_module_.reset();
  auto loaded = GpuModule::load(*gpu_, image);
  if (!loaded) return pass_on(loaded);
  last_module_ = std::make_shared<GpuModule>(std::move(*loaded));
  last_image_ = image;
  return last_module_;
}

Outcome<std::vector<KernelResources>> CudaBackend::load(ProgramId id, const std::string& image,
                                                        const BoundPlan& plan,
                                                        const std::vector<BufferSet>& sets) {
  if (const auto product = read_library_image(image)) return load_library(id, *product, sets);
  auto module = module_of(image);
  if (!module) return pass_on(module);
  Program made{*module, {}, {}, {}, {}, 0};
  // What another candidate has told the L2 cache to keep does not concern this one.
  if (auto reset = gpu_->check(gpu_->driver().context_reset_persisting_l2(), "the L2 cache");
      !reset) {
    return reset.error();
  }
  if (auto room = check_room(plan); !room) return pass_on(room);
  for (const BoundScratch& scratch : plan.scratch) {
    auto memory = GpuMemory::make(*gpu_, scratch.bytes, GpuMemory::Place::kLeft);
    if (!memory) return memory.error();
    if (auto filled = fill_memory(*memory, 0xff); !filled) return filled.error();
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

Outcome<std::vector<KernelResources>> CudaBackend::load_library(
    ProgramId id, const MatrixProduct& product, const std::vector<BufferSet>& sets) {
  if (blas_ == nullptr) {
    return Verdict(LaunchFailed{"a library's call, in a worker that has no library", ""});
  }
  Program made{nullptr, {}, {}, {}, {}, 0};
  for (const BufferSet& set : sets) {
    auto buffers = call_buffers(set, {}, {});
    if (!buffers) return buffers.error();
    made.calls.push_back(GpuCall::of("cublas", [this, product, at = std::move(*buffers)] {
      return blas_->enqueue(product, at);
    }));
  }
  made.sets = sets;
  programs_.erase(id);
  programs_.emplace(id, std::move(made));
  return std::vector<KernelResources>{};
}

Result<void> CudaBackend::unload(ProgramId id) {
  QUERN_TRY(gpu_->synchronize("unloading a program"));
  return programs_.erase(id) == 1 ? Result<void>() : no_such("program", id);
}

Result<void> CudaBackend::poison_scratch(ProgramId id, uint8_t byte) {
  QUERN_ASSIGN(Program * found, program(id));
  for (GpuMemory& memory : found->scratch) QUERN_TRY(fill_memory(memory, byte));
  return {};
}

Result<bool> CudaBackend::scratch_guards_intact(ProgramId id) {
  QUERN_ASSIGN(Program * found, program(id));
  if (found->scratch.empty()) return true;
  return intact(scratch_of(*found));
}

template <class T>
Outcome<double> CudaBackend::answer(const Program& program, const Result<T>& result, double ns) {
  if (result) return ns;
  if (gpu_->fault() != kSuccess) {
    return explain_fault(gpu_->driver(), gpu_->fault(), program.calls[0].last_kernel());
  }
  return result.error();
}

Result<const CallGraph*> CudaBackend::graph_of(Program& program, int calls, int first) {
  const std::pair key{calls, first};
  if (auto found = program.graphs.find(key); found != program.graphs.end()) return &found->second;
  std::vector<const GpuCall*> order;
  for (size_t i = 0; i < program.calls.size(); ++i) {
    order.push_back(&program.calls[(i + static_cast<size_t>(first)) % program.calls.size()]);
  }
  QUERN_ASSIGN(CallGraph graph, CallGraph::record(*gpu_, order, calls));
  return &program.graphs.emplace(key, std::move(graph)).first->second;
}

/// Times what `enqueue` queues. The device is kept busy meanwhile, or it would be done with the
/// first event before the rest is queued.
Result<double> CudaBackend::time(const std::function<Status()>& enqueue) {
  if (referee_) QUERN_TRY(gpu_->check(referee_->hold(kHoldUs), "timing"));
  QUERN_ASSIGN(const std::vector<double> ns, timer_->measure(1, enqueue));
  return ns.front();
}

Outcome<double> CudaBackend::run_graph(Program& program, int calls, int first) {
  const auto sets = static_cast<int>(program.calls.size());
  const int whole = std::min(calls, kLargestGraph / sets * sets);
  const int left = calls % whole;
  auto graph = graph_of(program, whole, first);
  auto rest = graph && left != 0 ? graph_of(program, left, first) : graph;
  if (!graph || !rest) {
    // What a graph cannot hold can still be launched one by one.
    if (gpu_->fault() == kSuccess) return run_singly(program, calls, first);
    return answer(program, graph ? rest : graph, 0);
  }
  auto ns = time([&] {
    Status status = kSuccess;
    for (int i = 0; i < calls / whole && status == kSuccess; ++i) status = (*graph)->launch();
    if (status == kSuccess && left != 0) status = (*rest)->launch();
    return status;
  });
  return answer(program, ns, ns ? *ns : 0);
}

Outcome<double> CudaBackend::run_singly(Program& program, int calls, int first) {
  bool refused = false;
  Status refusal = kSuccess;
  auto ns = time([&] {
    for (int i = 0; i < calls; ++i) {
      const auto set = static_cast<size_t>(first + i) % program.calls.size();
      refusal = program.calls[set].enqueue(*gpu_);
      refused = refusal != kSuccess && !is_device_fault(refusal);
      if (refusal != kSuccess) return refusal;
    }
    return refusal;
  });
  if (!ns && refused) {
    return Verdict(
        LaunchFailed{fmt::format("launch {}: the driver refuses it: {}",
                                 program.calls[0].last_kernel(), gpu_->driver().text(refusal)),
                     ""});
  }
  return answer(program, ns, ns ? *ns : 0);
}

Outcome<double> CudaBackend::run(ProgramId id, int calls, int first) {
  auto found = program(id);
  if (!found) return found.error();
  Program& loaded = **found;
  if (calls < 1 || first < 0 || loaded.calls.empty()) return no_such("calls of program", id);
  first %= static_cast<int>(loaded.calls.size());
  if (auto hidden = buffers_->protect(); !hidden) return hidden.error();
  // One call for every set is a look at results, which is not repeated often enough for a graph.
  const bool batched = loaded.call_ns > 0 && loaded.call_ns < kGraphBelowNs &&
                       calls > static_cast<int>(loaded.calls.size());
  auto ns = batched ? run_graph(loaded, calls, first) : run_singly(loaded, calls, first);
  if (ns) {
    const double mean = *ns / calls;
    loaded.call_ns = loaded.call_ns == 0 ? mean : std::min(loaded.call_ns, mean);
  }
  return ns;
}

/// Passes take the sets of buffers in turn, as timed calls do: caches are as cold.
Outcome<Profile> CudaBackend::profile(ProgramId id) {
  auto found = program(id);
  if (!found) return found.error();
  const Program& loaded = **found;
  if (counters_ == nullptr) return *refused_;
  if (loaded.calls.empty()) return no_such("calls of program", id);
  if (auto hidden = buffers_->protect(); !hidden) return hidden.error();
  std::vector<std::string> kernels;
  for (const LaunchFit& fit : loaded.calls[0].fit(*gpu_)) kernels.push_back(fit.kernel);
  size_t calls = 0;
  auto profile = counters_->read(
      kernels, [&] { return loaded.calls[calls++ % loaded.calls.size()].enqueue(*gpu_); });
  if (profile) return std::move(*profile);
  if (gpu_->fault() == kSuccess) return profile.error();
  return explain_fault(gpu_->driver(), gpu_->fault(), loaded.calls[0].last_kernel());
}

}  // namespace

std::unique_ptr<DeviceBackend> make_cuda_backend(CudaBackendOptions options) {
  return std::make_unique<CudaBackend>(std::move(options));
}

}  // namespace quern::cuda
