// SPDX-License-Identifier: Apache-2.0
//
// A CUDA driver for tests: the functions of driver.h, on a GPU that computes nothing.
#include <elf.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>

#include "simulated_gpu.h"

namespace {

using namespace quern::cuda;
using namespace quern::cuda::simulated;
namespace sim = quern::cuda::simulated;

constexpr uint64_t kPage = 2 << 20;
constexpr uint64_t kMemoryBytes = uint64_t{141} << 30;
constexpr uint64_t kFillsDone = 1 << 20;  ///< of larger ones only the time is taken
constexpr Status kInvalid = 1;
constexpr double kCopyUsAByte = 1 / 2.5e4, kMemoryUsAByte = 1 / 4e6;

sim::Gpu& gpu() { return sim::Gpu::current(); }

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
  static uint64_t state = static_cast<uint64_t>(sim::now_ns());
  double sum = 0;
  for (int i = 0; i < 12; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    sum += static_cast<double>(state >> 11) * 0x1p-53;
  }
  return sum - 6;
}

}  // namespace

#define SIM extern "C" __attribute__((visibility("default"))) Status

SIM cuInit(unsigned) {
  static const bool done = (gpu().spend_us(1e5 * (settings().context_ms > 0 ? 1 : 0)), true);
  return done ? kSuccess : kInvalid;
}
SIM cuDriverGetVersion(int* version) { return *version = 13000, kSuccess; }
SIM cuGetErrorName(Status status, const char** text) {
  *text = status == kIllegalAddress ? "CUDA_ERROR_ILLEGAL_ADDRESS"
          : status == 719           ? "CUDA_ERROR_LAUNCH_FAILED"
          : status == 46            ? "CUDA_ERROR_DEVICE_UNAVAILABLE"
                                    : "CUDA_ERROR_SIMULATED";
  return kSuccess;
}
SIM cuGetErrorString(Status, const char** text) { return *text = "simulated", kSuccess; }
SIM cuDeviceGetCount(int* count) { return *count = static_cast<int>(settings().devices), kSuccess; }
SIM cuDeviceGet(int* device, int ordinal) {
  if (ordinal < 0 || ordinal >= static_cast<int>(settings().devices)) return 101;
  return *device = ordinal, kSuccess;
}
SIM cuDeviceGetName(char* name, int length, int) {
  std::strncpy(name, "Simulated GPU", static_cast<size_t>(length));
  return kSuccess;
}
SIM cuDeviceGetUuid_v2(Uuid* uuid, int device) {
  return *uuid = {}, uuid->bytes[15] = static_cast<unsigned char>(device), kSuccess;
}
SIM cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = kMemoryBytes, kSuccess; }
SIM cuDeviceGetAttribute(int* value, DeviceAttribute attribute, int) {
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
SIM cuDevicePrimaryCtxRetain(ContextHandle* context, int device) {
  *context = reinterpret_cast<ContextHandle>(&gpu());
  return gpu().open(device);
}
SIM cuDevicePrimaryCtxRelease_v2(int) { return kSuccess; }
SIM cuDevicePrimaryCtxSetFlags_v2(int, unsigned) { return kSuccess; }
SIM cuCtxSetCurrent(ContextHandle) { return kSuccess; }
SIM cuCtxSynchronize() { return gpu().wait(); }
SIM cuCtxSetLimit(Limit, size_t) { return kSuccess; }
SIM cuCtxResetPersistingL2Cache() { return gpu().spend_us(20), gpu().failed(); }

SIM cuMemGetInfo_v2(size_t* free, size_t* total) {
  *total = kMemoryBytes;
  *free = kMemoryBytes - gpu().used_bytes();
  return gpu().failed();
}
SIM cuMemGetAllocationGranularity(size_t* bytes, const MemoryProperties*, int) {
  return *bytes = kPage, kSuccess;
}
SIM cuMemCreate(MemoryHandle* handle, size_t bytes, const MemoryProperties*, unsigned long long) {
  gpu().spend_us(15 + static_cast<double>(bytes) * 3e-7);
  return gpu().create(handle, bytes);
}
SIM cuMemRelease(MemoryHandle handle) { return gpu().spend_us(15), gpu().release(handle); }
SIM cuMemAddressReserve(DevicePointer* at, size_t bytes, size_t, DevicePointer,
                        unsigned long long) {
  return gpu().spend_us(2), gpu().reserve(at, bytes);
}
SIM cuMemAddressFree(DevicePointer at, size_t bytes) { return gpu().unreserve(at, bytes); }
SIM cuMemMap(DevicePointer at, size_t bytes, size_t, MemoryHandle handle, unsigned long long) {
  return gpu().spend_us(5), gpu().map(at, bytes, handle);
}
SIM cuMemUnmap(DevicePointer at, size_t) { return gpu().spend_us(18), gpu().unmap(at); }
SIM cuMemSetAccess(DevicePointer at, size_t, const MemoryAccess* access, size_t) {
  return gpu().spend_us(25), gpu().allow(at, access->access);
}
SIM cuMemAllocHost_v2(void** at, size_t bytes) {
  *at = std::malloc(bytes);
  return *at == nullptr ? kOutOfMemory : kSuccess;
}
SIM cuMemFreeHost(void* at) { return std::free(at), kSuccess; }
SIM cuMemcpyHtoDAsync_v2(DevicePointer to, const void* from, size_t bytes, StreamHandle) {
  if (!gpu().may(to, bytes, Access::kReadWrite)) return kInvalid;
  gpu().spend_us(3);
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return gpu().queue({2 + static_cast<double>(bytes) * kCopyUsAByte, Act::kNothing});
}
SIM cuMemcpyDtoHAsync_v2(void* to, DevicePointer from, size_t bytes, StreamHandle) {
  if (!gpu().may(from, bytes, Access::kRead)) return kInvalid;
  gpu().spend_us(3);
  // A copy into pageable memory waits for what it copies.
  const Status queued = gpu().queue({2 + static_cast<double>(bytes) * kCopyUsAByte, Act::kNothing});
  const Status done = queued == kSuccess ? gpu().wait() : queued;
  if (done == kSuccess) std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  return done;
}
SIM cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t bytes, StreamHandle) {
  if (!gpu().may(to, bytes, Access::kReadWrite) || !gpu().may(from, bytes, Access::kRead)) {
    return kInvalid;
  }
  gpu().spend_us(2);
  if (bytes <= kFillsDone) {
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  }
  return gpu().queue({1.5 + static_cast<double>(bytes) * 2 * kMemoryUsAByte, Act::kNothing});
}
SIM cuMemsetD8Async(DevicePointer at, unsigned char value, size_t count, StreamHandle) {
  if (!gpu().may(at, count, Access::kReadWrite)) return kInvalid;
  gpu().spend_us(2);
  if (count <= kFillsDone) std::memset(reinterpret_cast<void*>(at), value, count);
  return gpu().queue({1.5 + static_cast<double>(count) * kMemoryUsAByte, Act::kNothing});
}
SIM cuMemsetD32Async(DevicePointer at, unsigned value, size_t count, StreamHandle) {
  if (!gpu().may(at, 4 * count, Access::kReadWrite)) return kInvalid;
  gpu().spend_us(2);
  if (4 * count <= kFillsDone) std::fill_n(reinterpret_cast<unsigned*>(at), count, value);
  return gpu().queue({1.5 + static_cast<double>(count) * 4 * kMemoryUsAByte, Act::kNothing});
}

SIM cuStreamCreate(StreamHandle* stream, unsigned) {
  return *stream = reinterpret_cast<StreamHandle>(&gpu()), kSuccess;
}
SIM cuStreamDestroy_v2(StreamHandle) { return kSuccess; }
SIM cuStreamSynchronize(StreamHandle) { return gpu().spend_us(4), gpu().wait(); }
SIM cuStreamBeginCapture_v2(StreamHandle, int) { return gpu().begin_capture(), kSuccess; }
SIM cuStreamEndCapture(StreamHandle, GraphHandle* graph) {
  *graph = reinterpret_cast<GraphHandle>(gpu().end_capture().release());
  return *graph == nullptr ? kInvalid : kSuccess;
}
SIM cuEventCreate(EventHandle* event, unsigned) {
  return *event = reinterpret_cast<EventHandle>(new Event()), kSuccess;
}
SIM cuEventDestroy_v2(EventHandle event) {
  return delete reinterpret_cast<Event*>(event), kSuccess;
}
SIM cuEventRecord(EventHandle event, StreamHandle) {
  gpu().spend_us(1);
  const Status queued = gpu().queue({0.2, Act::kNothing});
  reinterpret_cast<Event*>(event)->ns = gpu().tail_ns();
  return queued;
}
SIM cuEventQuery(EventHandle event) {
  return sim::now_ns() >= reinterpret_cast<Event*>(event)->ns ? kSuccess : kNotReady;
}
SIM cuEventSynchronize(EventHandle) { return gpu().wait(); }
SIM cuEventElapsedTime(float* ms, EventHandle start, EventHandle end) {
  const auto ns = reinterpret_cast<Event*>(end)->ns - reinterpret_cast<Event*>(start)->ns;
  const double noisy = 1 + settings().noise * next_normal();
  *ms = static_cast<float>(static_cast<double>(ns) * 1e-6 / settings().scale * noisy);
  return gpu().failed();
}
SIM cuGraphInstantiateWithFlags(GraphExecHandle* made, GraphHandle graph, unsigned long long) {
  auto* copy = new Graph(*reinterpret_cast<Graph*>(graph));
  gpu().spend_us(60 + 0.3 * static_cast<double>(copy->work.size()));
  return *made = reinterpret_cast<GraphExecHandle>(copy), kSuccess;
}
SIM cuGraphUpload(GraphExecHandle, StreamHandle) { return gpu().spend_us(10), gpu().failed(); }
SIM cuGraphLaunch(GraphExecHandle graph, StreamHandle) {
  gpu().spend_us(5);
  for (const Work& work : reinterpret_cast<Graph*>(graph)->work) {
    if (const Status queued = gpu().queue(work); queued != kSuccess) return queued;
  }
  return kSuccess;
}
SIM cuGraphExecDestroy(GraphExecHandle graph) {
  return delete reinterpret_cast<Graph*>(graph), kSuccess;
}
SIM cuGraphDestroy(GraphHandle graph) { return delete reinterpret_cast<Graph*>(graph), kSuccess; }

SIM cuModuleLoadData(ModuleHandle* module, const void* image) {
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
SIM cuModuleUnload(ModuleHandle handle) {
  auto* module = reinterpret_cast<Module*>(handle);
  gpu().spend_us(120);
  for (const auto& [name, bytes] : module->globals) gpu().drop_global(bytes);
  return delete module, kSuccess;
}
SIM cuModuleGetFunction(FunctionHandle* function, ModuleHandle handle, const char* name) {
  auto& functions = reinterpret_cast<Module*>(handle)->functions;
  const auto found = functions.find(name);
  if (found == functions.end()) return kNotFound;
  return *function = reinterpret_cast<FunctionHandle>(&found->second), kSuccess;
}
SIM cuModuleGetGlobal_v2(DevicePointer* at, size_t* bytes, ModuleHandle handle, const char* name) {
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
SIM cuFuncGetAttribute(int* value, FunctionAttribute attribute, FunctionHandle handle) {
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
SIM cuFuncSetAttribute(FunctionHandle, FunctionAttribute, int) { return gpu().failed(); }
SIM cuLaunchKernelEx(const LaunchConfig* config, FunctionHandle handle, void** arguments, void**) {
  gpu().spend_us(2);
  return gpu().launch(*reinterpret_cast<Function*>(handle), arguments, *config);
}
SIM cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, FunctionHandle, int threads, size_t) {
  return *blocks = std::max(1, 2048 / std::max(1, threads)), gpu().failed();
}
SIM cuOccupancyMaxActiveClusters(int* clusters, FunctionHandle, const LaunchConfig*) {
  return *clusters = 16, gpu().failed();
}
SIM cuTensorMapEncodeTiled(TensorMap* map, int, uint32_t, DevicePointer at, const uint64_t*,
                           const uint64_t*, const uint32_t*, const uint32_t*, int, int, int, int) {
  return map->words[0] = at, gpu().failed();
}
