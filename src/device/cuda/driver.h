// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

/// The CUDA driver API as far as Quern uses it, declared by ourselves and found at run time, so
/// that one binary runs with and without a GPU. Layouts and numbers: CUDA Driver API 12.0, "Data
/// types used by CUDA driver"; they are part of the driver's stable binary interface.
namespace quern::cuda {

using Status = int;  ///< CUresult; 0 is success
using DevicePointer = uint64_t;
using MemoryHandle = uint64_t;
using ContextHandle = struct ContextTag*;
using ModuleHandle = struct ModuleTag*;
using FunctionHandle = struct FunctionTag*;
using StreamHandle = struct StreamTag*;
using EventHandle = struct EventTag*;
using GraphHandle = struct GraphTag*;
using GraphExecHandle = struct GraphExecTag*;

inline constexpr Status kSuccess = 0;
inline constexpr Status kOutOfMemory = 2;
inline constexpr Status kNoDevice = 100;
inline constexpr Status kNotFound = 500;
inline constexpr Status kNotReady = 600;
inline constexpr Status kIllegalAddress = 700;

/// CUdevice_attribute.
enum class DeviceAttribute : int {
  kMaxThreadsPerBlock = 1,
  kMaxSharedPerBlock = 8,
  kClockRateKhz = 13,
  kMultiprocessors = 16,
  kMemoryClockKhz = 36,
  kMemoryBusBits = 37,
  kL2Bytes = 38,
  kMaxThreadsPerMultiprocessor = 39,
  kCapabilityMajor = 75,
  kCapabilityMinor = 76,
  kSharedPerMultiprocessor = 81,
  kRegistersPerMultiprocessor = 82,
  kMaxSharedPerBlockOptIn = 97,
  kVirtualMemory = 102,
  kMaxBlocksPerMultiprocessor = 106,
  kClusterLaunch = 120,
};

/// CUfunction_attribute.
enum class FunctionAttribute : int {
  kMaxThreadsPerBlock = 0,
  kSharedBytes = 1,
  kConstantBytes = 2,
  kLocalBytes = 3,
  kRegisters = 4,
  kMaxDynamicSharedBytes = 8,
  kNonPortableClusterSize = 14,
};

/// CUlimit.
enum class Limit : int { kStackBytes = 0, kPrintfBytes = 1, kHeapBytes = 2 };

struct MemoryLocation {
  int type = 1;  ///< a device
  int device = 0;
};

/// CUmemAllocationProp: memory of one device.
struct MemoryProperties {
  int type = 1;  ///< pinned
  int handle_types = 0;
  MemoryLocation location;
  void* reserved = nullptr;
  unsigned char flags[8] = {};
};

enum class Access : int { kNone = 0, kRead = 1, kReadWrite = 3 };

/// CUmemAccessDesc.
struct MemoryAccess {
  MemoryLocation location;
  Access access = Access::kNone;
};

/// CUlaunchAttribute: a number that says which, then 64 bytes of value.
struct LaunchAttribute {
  enum class Id : int { kCooperative = 2, kClusterDimension = 4, kProgrammaticSerialization = 6 };
  Id id;
  int padding = 0;
  unsigned value[16] = {};
};

/// CUlaunchConfig.
struct LaunchConfig {
  unsigned grid[3] = {1, 1, 1};
  unsigned block[3] = {1, 1, 1};
  unsigned shared_bytes = 0;
  StreamHandle stream = nullptr;
  LaunchAttribute* attributes = nullptr;
  unsigned attribute_count = 0;
};

struct alignas(64) TensorMap {
  uint64_t words[16] = {};
};

struct Uuid {
  unsigned char bytes[16] = {};
};

// One row a function: field of `Driver`, symbol in the library (the version of CUDA 12), arguments.
#define QUERN_CUDA_FUNCTIONS(FUNCTION)                                                            \
  FUNCTION(init, "cuInit", (unsigned flags))                                                      \
  FUNCTION(driver_version, "cuDriverGetVersion", (int* version))                                  \
  FUNCTION(error_name, "cuGetErrorName", (Status status, const char** text))                      \
  FUNCTION(error_text, "cuGetErrorString", (Status status, const char** text))                    \
  FUNCTION(device_count, "cuDeviceGetCount", (int* count))                                        \
  FUNCTION(device_get, "cuDeviceGet", (int* device, int ordinal))                                 \
  FUNCTION(device_name, "cuDeviceGetName", (char* name, int length, int device))                  \
  FUNCTION(device_uuid, "cuDeviceGetUuid_v2", (Uuid * uuid, int device))                          \
  FUNCTION(device_memory, "cuDeviceTotalMem_v2", (size_t * bytes, int device))                    \
  FUNCTION(device_attribute, "cuDeviceGetAttribute",                                              \
           (int* value, DeviceAttribute attribute, int device))                                   \
  FUNCTION(primary_context_retain, "cuDevicePrimaryCtxRetain",                                    \
           (ContextHandle * context, int device))                                                 \
  FUNCTION(primary_context_release, "cuDevicePrimaryCtxRelease_v2", (int device))                 \
  FUNCTION(primary_context_flags, "cuDevicePrimaryCtxSetFlags_v2", (int device, unsigned flags))  \
  FUNCTION(context_set_current, "cuCtxSetCurrent", (ContextHandle context))                       \
  FUNCTION(context_synchronize, "cuCtxSynchronize", ())                                           \
  FUNCTION(context_set_limit, "cuCtxSetLimit", (Limit limit, size_t value))                       \
  FUNCTION(context_reset_persisting_l2, "cuCtxResetPersistingL2Cache", ())                        \
  FUNCTION(memory_info, "cuMemGetInfo_v2", (size_t * free, size_t * total))                       \
  FUNCTION(memory_granularity, "cuMemGetAllocationGranularity",                                   \
           (size_t * bytes, const MemoryProperties* properties, int option))                      \
  FUNCTION(memory_create, "cuMemCreate",                                                          \
           (MemoryHandle * handle, size_t bytes, const MemoryProperties* properties,              \
            unsigned long long flags))                                                            \
  FUNCTION(memory_release, "cuMemRelease", (MemoryHandle handle))                                 \
  FUNCTION(address_reserve, "cuMemAddressReserve",                                                \
           (DevicePointer * at, size_t bytes, size_t alignment, DevicePointer hint,               \
            unsigned long long flags))                                                            \
  FUNCTION(address_free, "cuMemAddressFree", (DevicePointer at, size_t bytes))                    \
  FUNCTION(memory_map, "cuMemMap",                                                                \
           (DevicePointer at, size_t bytes, size_t offset, MemoryHandle handle,                   \
            unsigned long long flags))                                                            \
  FUNCTION(memory_unmap, "cuMemUnmap", (DevicePointer at, size_t bytes))                          \
  FUNCTION(memory_set_access, "cuMemSetAccess",                                                   \
           (DevicePointer at, size_t bytes, const MemoryAccess* access, size_t count))            \
  FUNCTION(host_allocate, "cuMemAllocHost_v2", (void** at, size_t bytes))                         \
  FUNCTION(host_free, "cuMemFreeHost", (void* at))                                                \
  FUNCTION(copy_to_device, "cuMemcpyHtoDAsync_v2",                                                \
           (DevicePointer to, const void* from, size_t bytes, StreamHandle stream))               \
  FUNCTION(copy_to_host, "cuMemcpyDtoHAsync_v2",                                                  \
           (void* to, DevicePointer from, size_t bytes, StreamHandle stream))                     \
  FUNCTION(copy_on_device, "cuMemcpyDtoDAsync_v2",                                                \
           (DevicePointer to, DevicePointer from, size_t bytes, StreamHandle stream))             \
  FUNCTION(set_bytes, "cuMemsetD8Async",                                                          \
           (DevicePointer at, unsigned char value, size_t count, StreamHandle stream))            \
  FUNCTION(set_words, "cuMemsetD32Async",                                                         \
           (DevicePointer at, unsigned value, size_t count, StreamHandle stream))                 \
  FUNCTION(stream_create, "cuStreamCreate", (StreamHandle * stream, unsigned flags))              \
  FUNCTION(stream_destroy, "cuStreamDestroy_v2", (StreamHandle stream))                           \
  FUNCTION(stream_synchronize, "cuStreamSynchronize", (StreamHandle stream))                      \
  FUNCTION(stream_begin_capture, "cuStreamBeginCapture_v2", (StreamHandle stream, int mode))      \
  FUNCTION(stream_end_capture, "cuStreamEndCapture", (StreamHandle stream, GraphHandle * graph))  \
  FUNCTION(event_create, "cuEventCreate", (EventHandle * event, unsigned flags))                  \
  FUNCTION(event_destroy, "cuEventDestroy_v2", (EventHandle event))                               \
  FUNCTION(event_record, "cuEventRecord", (EventHandle event, StreamHandle stream))               \
  FUNCTION(event_query, "cuEventQuery", (EventHandle event))                                      \
  FUNCTION(event_synchronize, "cuEventSynchronize", (EventHandle event))                          \
  FUNCTION(event_elapsed, "cuEventElapsedTime", (float* ms, EventHandle start, EventHandle end))  \
  FUNCTION(graph_instantiate, "cuGraphInstantiateWithFlags",                                      \
           (GraphExecHandle * made, GraphHandle graph, unsigned long long flags))                 \
  FUNCTION(graph_upload, "cuGraphUpload", (GraphExecHandle graph, StreamHandle stream))           \
  FUNCTION(graph_launch, "cuGraphLaunch", (GraphExecHandle graph, StreamHandle stream))           \
  FUNCTION(graph_exec_destroy, "cuGraphExecDestroy", (GraphExecHandle graph))                     \
  FUNCTION(graph_destroy, "cuGraphDestroy", (GraphHandle graph))                                  \
  FUNCTION(module_load, "cuModuleLoadData", (ModuleHandle * module, const void* image))           \
  FUNCTION(module_unload, "cuModuleUnload", (ModuleHandle module))                                \
  FUNCTION(module_function, "cuModuleGetFunction",                                                \
           (FunctionHandle * function, ModuleHandle module, const char* name))                    \
  FUNCTION(module_global, "cuModuleGetGlobal_v2",                                                 \
           (DevicePointer * at, size_t * bytes, ModuleHandle module, const char* name))           \
  FUNCTION(function_attribute, "cuFuncGetAttribute",                                              \
           (int* value, FunctionAttribute attribute, FunctionHandle function))                    \
  FUNCTION(function_set_attribute, "cuFuncSetAttribute",                                          \
           (FunctionHandle function, FunctionAttribute attribute, int value))                     \
  FUNCTION(launch, "cuLaunchKernelEx",                                                            \
           (const LaunchConfig* config, FunctionHandle function, void** arguments, void** extra)) \
  FUNCTION(occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor",                              \
           (int* blocks, FunctionHandle function, int threads, size_t shared_bytes))              \
  FUNCTION(occupancy_clusters, "cuOccupancyMaxActiveClusters",                                    \
           (int* clusters, FunctionHandle function, const LaunchConfig* config))                  \
  FUNCTION(encode_tensor_map, "cuTensorMapEncodeTiled",                                           \
           (TensorMap * map, int type, uint32_t rank, DevicePointer at, const uint64_t* extents,  \
            const uint64_t* stride_bytes, const uint32_t* box, const uint32_t* element_strides,   \
            int interleave, int swizzle, int l2_promotion, int fill))

/// The driver's functions. One table for the life of the process: the library stays open.
struct Driver {
#define QUERN_FIELD(field, symbol, arguments) Status(*field) arguments = nullptr;
  QUERN_CUDA_FUNCTIONS(QUERN_FIELD)
#undef QUERN_FIELD

  std::string path;     ///< of the library
  int version = 0;      ///< 13000 for CUDA 13.0
  std::string missing;  ///< symbols this driver lacks; their fields are null

  /// Opens libcuda.so.1, or `library` if given, and calls cuInit. Errors: kEnvironment: no driver,
  /// one older than CUDA 12, or a driver without a usable GPU.
  static Result<std::unique_ptr<Driver>> open(const std::string& library = "");

  /// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
  std::string text(Status status) const;
  /// An `Error` saying "<what>: <text>" unless `status` is success.
  Result<void> check(Status status, std::string_view what) const;
};

/// Whether a status means that device code faulted (a bad address, a trap, a failed assertion).
/// The context is then lost with everything in it, and so is every other one of this process.
bool is_device_fault(Status status);

}  // namespace quern::cuda
