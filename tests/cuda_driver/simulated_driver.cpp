// SPDX-License-Identifier: Apache-2.0
//
// A CUDA driver for tests: the functions of driver.h, on a GPU that computes nothing.
#include <elf.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "base/clock.h"
#include "simulated_gpu.h"

namespace quern::cuda::simulated {

// The functions below, under the names by which they are looked up.
#define QUERN_EXPORT(field, symbol, arguments) \
  __attribute__((visibility("default"))) Status field arguments asm(symbol);
QUERN_CUDA_FUNCTIONS(QUERN_EXPORT)
#undef QUERN_EXPORT

namespace {

constexpr uint64_t kPage = 2 << 20;
constexpr uint64_t kMemoryBytes = uint64_t{141} << 30;
constexpr uint64_t kFillsDone = 1 << 20;  ///< of larger ones only the time is taken
constexpr Status kInvalid = 1;
constexpr double kCopyUsAByte = 1 / 2.5e4, kMemoryUsAByte = 1 / 4e6;

Gpu& gpu() { return Gpu::current(); }

/// How long an ELF file is: its two tables come last.
size_t image_bytes(const void* image) {
  Elf64_Ehdr header;
  std::memcpy(&header, image, sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return 0;
  return std::max<size_t>(header.e_shoff + size_t{header.e_shnum} * header.e_shentsize,
                          header.e_phoff + size_t{header.e_phnum} * header.e_phentsize);
}

Act act_of(const std::string& name) {
  const auto has = [&](const char* word) { return name.find(word) != std::string::npos; };
  if (has("fault")) return Act::kFault;
  if (has("trap")) return Act::kTrap;
  if (has("hang")) return Act::kHang;
  if (has("wrong")) return Act::kWrong;
  if (has("unstable")) return Act::kUnstable;
  return Act::kNothing;
}

/// A normal number of mean 0 and deviation 1, from a counter.
double next_normal() {
  static uint64_t state = 1;
  double sum = 0;
  for (int i = 0; i < 12; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    sum += static_cast<double>(state >> 11) * 0x1p-53;
  }
  return sum - 6;
}

}  // namespace

Status init(unsigned) { return kSuccess; }
Status driver_version(int* version) { return *version = 13000, kSuccess; }
Status error_name(Status status, const char** text) {
  *text = status == kIllegalAddress ? "CUDA_ERROR_ILLEGAL_ADDRESS"
          : status == 719           ? "CUDA_ERROR_LAUNCH_FAILED"
          : status == 46            ? "CUDA_ERROR_DEVICE_UNAVAILABLE"
                                    : "CUDA_ERROR_SIMULATED";
  return kSuccess;
}
Status error_text(Status, const char** text) { return *text = "simulated", kSuccess; }
Status device_count(int* count) { return *count = static_cast<int>(settings().devices), kSuccess; }
Status device_get(int* device, int ordinal) {
  if (ordinal < 0 || ordinal >= static_cast<int>(settings().devices)) return 101;
  return *device = ordinal, kSuccess;
}
Status device_name(char* name, int length, int) {
  std::strncpy(name, "Simulated GPU", static_cast<size_t>(length));
  return kSuccess;
}
Status device_uuid(Uuid* uuid, int device) {
  return *uuid = {}, uuid->bytes[15] = static_cast<unsigned char>(device), kSuccess;
}
Status device_memory(size_t* bytes, int) { return *bytes = kMemoryBytes, kSuccess; }
Status device_attribute(int* value, DeviceAttribute attribute, int) {
  using A = DeviceAttribute;
  const std::map<A, int> h200 = {{A::kMaxThreadsPerBlock, 1024},
                                 {A::kMaxSharedPerBlock, 49152},
                                 {A::kClockRateKhz, 1'980'000},
                                 {A::kMultiprocessors, 132},
                                 {A::kMemoryClockKhz, 3'201'000},
                                 {A::kMemoryBusBits, 6144},
                                 {A::kL2Bytes, 62'914'560},
                                 {A::kMaxThreadsPerMultiprocessor, 2048},
                                 {A::kCapabilityMajor, 9},
                                 {A::kCapabilityMinor, 0},
                                 {A::kSharedPerMultiprocessor, 233'472},
                                 {A::kRegistersPerMultiprocessor, 65536},
                                 {A::kMaxSharedPerBlockOptIn, 232'448},
                                 {A::kVirtualMemory, 1},
                                 {A::kMaxBlocksPerMultiprocessor, 32},
                                 {A::kClusterLaunch, 1}};
  const auto found = h200.find(attribute);
  if (found == h200.end()) return kInvalid;
  return *value = found->second, kSuccess;
}
Status primary_context_retain(ContextHandle* context, int device) {
  *context = reinterpret_cast<ContextHandle>(&gpu());
  return gpu().open(device);
}
Status primary_context_release(int) { return kSuccess; }
Status primary_context_flags(int, unsigned) { return kSuccess; }
Status context_set_current(ContextHandle) { return kSuccess; }
Status context_synchronize() { return gpu().wait(); }
Status context_set_limit(Limit, size_t) { return kSuccess; }
Status context_reset_persisting_l2() { return gpu().spend_us(20), gpu().failed(); }

Status memory_info(size_t* free, size_t* total) {
  *total = kMemoryBytes;
  *free = kMemoryBytes - gpu().used_bytes();
  return gpu().failed();
}
Status memory_granularity(size_t* bytes, const MemoryProperties*, int) {
  return *bytes = kPage, kSuccess;
}
Status memory_create(MemoryHandle* handle, size_t bytes, const MemoryProperties*,
                     unsigned long long) {
  gpu().spend_us(15 + static_cast<double>(bytes) * 3e-7);
  return gpu().create(handle, bytes);
}
Status memory_release(MemoryHandle handle) { return gpu().spend_us(15), gpu().release(handle); }
Status address_reserve(DevicePointer* at, size_t bytes, size_t, DevicePointer, unsigned long long) {
  return gpu().spend_us(2), gpu().reserve(at, bytes);
}
Status address_free(DevicePointer at, size_t bytes) { return gpu().unreserve(at, bytes); }
Status memory_map(DevicePointer at, size_t bytes, size_t, MemoryHandle handle, unsigned long long) {
  return gpu().spend_us(5), gpu().map(at, bytes, handle);
}
Status memory_unmap(DevicePointer at, size_t) { return gpu().spend_us(18), gpu().unmap(at); }
Status memory_set_access(DevicePointer at, size_t, const MemoryAccess* access, size_t) {
  return gpu().spend_us(25), gpu().allow(at, access->access);
}
Status host_allocate(void** at, size_t bytes) {
  *at = std::malloc(bytes);
  return *at == nullptr ? kOutOfMemory : kSuccess;
}
Status host_free(void* at) { return std::free(at), kSuccess; }
Status copy_to_device(DevicePointer to, const void* from, size_t bytes, StreamHandle) {
  if (!gpu().may(to, bytes, Access::kReadWrite)) return kInvalid;
  gpu().spend_us(3);
  std::memcpy(pointer(to), from, bytes);
  return gpu().queue({2 + static_cast<double>(bytes) * kCopyUsAByte, Act::kNothing});
}
Status copy_to_host(void* to, DevicePointer from, size_t bytes, StreamHandle) {
  if (!gpu().may(from, bytes, Access::kRead)) return kInvalid;
  gpu().spend_us(3);
  // A copy into pageable memory waits for what it copies.
  const Status queued = gpu().queue({2 + static_cast<double>(bytes) * kCopyUsAByte, Act::kNothing});
  const Status done = queued == kSuccess ? gpu().wait() : queued;
  if (done == kSuccess) std::memcpy(to, pointer(from), bytes);
  return done;
}
Status copy_on_device(DevicePointer to, DevicePointer from, size_t bytes, StreamHandle) {
  if (!gpu().may(to, bytes, Access::kReadWrite) || !gpu().may(from, bytes, Access::kRead)) {
    return kInvalid;
  }
  gpu().spend_us(2);
  if (bytes <= kFillsDone) {
    std::memmove(pointer(to), pointer(from), bytes);
  }
  return gpu().queue({1.5 + static_cast<double>(bytes) * 2 * kMemoryUsAByte, Act::kNothing});
}
Status set_bytes(DevicePointer at, unsigned char value, size_t count, StreamHandle) {
  if (!gpu().may(at, count, Access::kReadWrite)) return kInvalid;
  gpu().spend_us(2);
  if (count <= kFillsDone) std::memset(pointer(at), value, count);
  return gpu().queue({1.5 + static_cast<double>(count) * kMemoryUsAByte, Act::kNothing});
}
Status set_words(DevicePointer at, unsigned value, size_t count, StreamHandle) {
  if (!gpu().may(at, 4 * count, Access::kReadWrite)) return kInvalid;
  gpu().spend_us(2);
  if (4 * count <= kFillsDone) std::fill_n(static_cast<unsigned*>(pointer(at)), count, value);
  return gpu().queue({1.5 + static_cast<double>(count) * 4 * kMemoryUsAByte, Act::kNothing});
}

Status stream_create(StreamHandle* stream, unsigned) {
  return *stream = reinterpret_cast<StreamHandle>(&gpu()), kSuccess;
}
Status stream_destroy(StreamHandle) { return kSuccess; }
Status stream_synchronize(StreamHandle) { return gpu().spend_us(4), gpu().wait(); }
Status stream_begin_capture(StreamHandle, int) { return gpu().begin_capture(), kSuccess; }
Status stream_end_capture(StreamHandle, GraphHandle* graph) {
  *graph = reinterpret_cast<GraphHandle>(gpu().end_capture().release());
  return *graph == nullptr ? kInvalid : kSuccess;
}
Status event_create(EventHandle* event, unsigned) {
  return *event = reinterpret_cast<EventHandle>(new Event()), kSuccess;
}
Status event_destroy(EventHandle event) { return delete reinterpret_cast<Event*>(event), kSuccess; }
Status event_record(EventHandle event, StreamHandle) {
  gpu().spend_us(1);
  const Status queued = gpu().queue({0.2, Act::kNothing});
  reinterpret_cast<Event*>(event)->ns = gpu().tail_ns();
  return queued;
}
Status event_query(EventHandle event) {
  return steady_now_ns() >= reinterpret_cast<Event*>(event)->ns ? kSuccess : kNotReady;
}
Status event_synchronize(EventHandle) { return gpu().wait(); }
Status event_elapsed(float* ms, EventHandle start, EventHandle end) {
  const auto ns = reinterpret_cast<Event*>(end)->ns - reinterpret_cast<Event*>(start)->ns;
  const double noisy = 1 + settings().noise * next_normal();
  *ms = static_cast<float>(static_cast<double>(ns) * 1e-6 / settings().scale * noisy);
  return gpu().failed();
}
Status graph_instantiate(GraphExecHandle* made, GraphHandle graph, unsigned long long) {
  auto* copy = new Graph(*reinterpret_cast<Graph*>(graph));
  gpu().spend_us(60 + 0.3 * static_cast<double>(copy->work.size()));
  return *made = reinterpret_cast<GraphExecHandle>(copy), kSuccess;
}
Status graph_upload(GraphExecHandle, StreamHandle) { return gpu().spend_us(10), gpu().failed(); }
Status graph_launch(GraphExecHandle graph, StreamHandle) {
  gpu().spend_us(5);
  for (const Work& work : reinterpret_cast<Graph*>(graph)->work) {
    if (const Status queued = gpu().queue(work); queued != kSuccess) return queued;
  }
  return kSuccess;
}
Status graph_exec_destroy(GraphExecHandle graph) {
  return delete reinterpret_cast<Graph*>(graph), kSuccess;
}
Status graph_destroy(GraphHandle graph) { return delete reinterpret_cast<Graph*>(graph), kSuccess; }

Status module_load(ModuleHandle* module, const void* image) {
  gpu().spend_us(100);
  auto made = std::make_unique<Module>();
  made->image.assign(static_cast<const char*>(image), image_bytes(image));
  auto kernels = read_cubin(made->image);
  if (!kernels) return 200;  // invalid image
  for (CubinKernel& kernel : *kernels) {
    Function& function = made->functions[kernel.name];
    function.module = made.get();
    function.act = act_of(kernel.name);
    function.late = kernel.name.find("late") != std::string::npos;
    function.kernel = std::move(kernel);
  }
  made->ours = made->functions.contains("sum_found");
  return *module = reinterpret_cast<ModuleHandle>(made.release()), gpu().failed();
}
Status module_unload(ModuleHandle handle) {
  auto* module = reinterpret_cast<Module*>(handle);
  gpu().spend_us(120);
  for (const auto& [name, bytes] : module->globals) gpu().drop_global(bytes);
  return delete module, kSuccess;
}
Status module_function(FunctionHandle* function, ModuleHandle handle, const char* name) {
  auto& functions = reinterpret_cast<Module*>(handle)->functions;
  const auto found = functions.find(name);
  if (found == functions.end()) return kNotFound;
  return *function = reinterpret_cast<FunctionHandle>(&found->second), kSuccess;
}
Status module_global(DevicePointer* at, size_t* bytes, ModuleHandle handle, const char* name) {
  auto* module = reinterpret_cast<Module*>(handle);
  if (module->image.find(name) == std::string::npos) return kNotFound;
  std::vector<char>& global = module->globals[name];
  if (global.empty()) {
    global.resize(kFillsDone);
    gpu().add_global(global);
  }
  *at = reinterpret_cast<DevicePointer>(global.data());
  return *bytes = global.size(), kSuccess;
}
Status function_attribute(int* value, FunctionAttribute attribute, FunctionHandle handle) {
  const CubinKernel& kernel = reinterpret_cast<Function*>(handle)->kernel;
  *value = 0;
  if (attribute == FunctionAttribute::kMaxThreadsPerBlock) {
    *value = kernel.max_threads > 0 ? kernel.max_threads : 1024;
  }
  if (attribute == FunctionAttribute::kSharedBytes) *value = static_cast<int>(kernel.shared_bytes);
  if (attribute == FunctionAttribute::kLocalBytes) *value = static_cast<int>(kernel.stack_bytes);
  if (attribute == FunctionAttribute::kRegisters) *value = kernel.registers;
  return gpu().failed();
}
Status function_set_attribute(FunctionHandle, FunctionAttribute, int) { return gpu().failed(); }
Status launch(const LaunchConfig*, FunctionHandle handle, void** arguments, void**) {
  gpu().spend_us(2);
  return gpu().launch(*reinterpret_cast<Function*>(handle), arguments);
}
Status occupancy(int* blocks, FunctionHandle, int threads, size_t) {
  return *blocks = std::max(1, 2048 / std::max(1, threads)), gpu().failed();
}
Status occupancy_clusters(int* clusters, FunctionHandle, const LaunchConfig*) {
  return *clusters = 16, gpu().failed();
}
Status encode_tensor_map(TensorMap* map, int, uint32_t, DevicePointer at, const uint64_t*,
                         const uint64_t*, const uint32_t*, const uint32_t*, int, int, int, int) {
  return map->words[0] = at, gpu().failed();
}

}  // namespace quern::cuda::simulated
