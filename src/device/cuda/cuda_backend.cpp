// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/cuda_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "base/file.h"
#include "device/cuda/blas.h"
#include "device/cuda/counters.h"
#include "device/cuda/gpu.h"
#include "device/cuda/gpu_buffers.h"
#include "device/cuda/gpu_memory.h"
#include "device/cuda/gpu_programs.h"
#include "device/cuda/referee.h"

namespace quern::cuda {
namespace {

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
                                             const std::vector<BufferSet>& sets) override {
    return programs_->load(id, image, plan, sets);
  }
  Result<void> unload(ProgramId id) override { return programs_->unload(id); }
  Result<void> poison_scratch(ProgramId id, uint8_t byte) override {
    return programs_->poison_scratch(id, byte);
  }
  Result<bool> scratch_guards_intact(ProgramId id) override;
  Outcome<double> run(ProgramId id, int calls, int first) override;
  Outcome<Profile> profile(ProgramId id) override;
  Outcome<std::vector<double>> run_batches(ProgramId id, int calls, int first,
                                           int batches) override {
    return programs_->run_batches(id, calls, first, batches);
  }
  double last_clock_mhz() const override { return programs_->last_clock_mhz(); }
  Result<void> exchange(BufferId shown, BufferId hidden) override {
    return buffers_->exchange(shown, hidden);
  }
  Result<void> forget_kept() override {
    return gpu_->check(gpu_->driver().context_reset_persisting_l2(), "the L2 cache");
  }

 private:
  void open_counters();
  Result<std::vector<const GpuMemory*>> memories_of(const std::vector<BufferId>& ids);
  Result<bool> intact(const std::vector<const GpuMemory*>& memories);
  Result<void> queue_guards(Referee& judge, const std::vector<const GpuMemory*>& memories);
  Result<void> queue_comparison(Referee& judge, const CompareOrder& order);
  Result<CompareCounts> counts_of(Referee& judge, const CompareOrder& order,
                                  const GpuComparison& found);
  Result<Referee*> referee();

  CudaBackendOptions options_;
  std::unique_ptr<Gpu> gpu_;
  std::optional<Referee> referee_;
  std::unique_ptr<Blas> blas_;
  std::unique_ptr<Counters> counters_;
  std::optional<Error> refused_;  ///< why there are none
  std::optional<GpuBuffers> buffers_;
  std::optional<GpuPrograms> programs_;
};

Result<DeviceProperties> CudaBackend::open() {
  QUERN_ASSIGN(std::unique_ptr<Driver> driver, Driver::open(options_.driver));
  QUERN_ASSIGN(gpu_, Gpu::open(std::move(driver), options_.device));
  // Device code gets no memory but its buffers.
  const Driver& api = gpu_->driver();
  (void)api.context_set_limit(Limit::kHeapBytes, 0);
  (void)api.context_set_limit(Limit::kPrintfBytes, 1 << 16);
  buffers_.emplace(*gpu_);
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
  QUERN_ASSIGN(GpuPrograms programs,
               GpuPrograms::make(*gpu_, *buffers_, referee_ ? &*referee_ : nullptr, blas_.get()));
  programs_.emplace(std::move(programs));
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

Result<void> CudaBackend::fill(BufferId id, uint8_t byte) {
  QUERN_ASSIGN(const auto view, buffers_->touch(id, Access::kReadWrite));
  QUERN_ASSIGN(GpuMemory * memory, buffers_->writable(id));
  if (memory != nullptr) return memory->fill(byte);
  return gpu_->check(gpu_->driver().set_bytes(view.data, byte, view.bytes, gpu_->stream()),
                     "filling");
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
  QUERN_ASSIGN(const BufferSet* buffers, programs_->set_of(id, set));
  for (const BufferId input : buffers->inputs) QUERN_TRY(buffers_->touch(input, Access::kRead));
  for (const BufferId output : buffers->outputs) {
    QUERN_TRY(buffers_->touch(output, Access::kReadWrite));
  }
  return programs_->enqueue(id, set);
}

Result<void> CudaBackend::queue_comparison(Referee& judge, const CompareOrder& order) {
  QUERN_ASSIGN(const auto got, buffers_->touch(order.got, Access::kRead));
  const auto size = static_cast<uint64_t>(dtype_bytes(order.type));
  bool fits = order.elements <= got.bytes / size;
  if (order.oracle != 0) {
    QUERN_ASSIGN(const BufferSet* set, programs_->set_of(order.oracle, order.set));
    if (!fits || order.output >= set->outputs.size()) {
      return no_such("such outputs of oracle", order.oracle);
    }
    const BufferId found = set->outputs[order.output];
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
    QUERN_ASSIGN(const auto scratch, programs_->scratch_of(order.scratch_of));
    guarded.insert(guarded.end(), scratch.begin(), scratch.end());
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

Result<bool> CudaBackend::scratch_guards_intact(ProgramId id) {
  QUERN_ASSIGN(const auto scratch, programs_->scratch_of(id));
  return scratch.empty() ? Result<bool>(true) : intact(scratch);
}

Outcome<double> CudaBackend::run(ProgramId id, int calls, int first) {
  auto ns = run_batches(id, calls, first, 1);
  if (!ns) return pass_on(ns);
  return ns->front();
}

Outcome<Profile> CudaBackend::profile(ProgramId id) {
  if (counters_ == nullptr) return *refused_;
  return programs_->profile(id, *counters_);
}

}  // namespace

std::unique_ptr<DeviceBackend> make_cuda_backend(CudaBackendOptions options) {
  return std::make_unique<CudaBackend>(std::move(options));
}

}  // namespace quern::cuda
