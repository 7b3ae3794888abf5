// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device/cuda/driver.h"

namespace quern::cuda {

/// A driver for tests without a GPU: memory is the host's, rights are bookkeeping, launches are
/// noted and run nothing. One at a time in a process.
struct FakeGpu {
  struct Range {
    uint64_t bytes = 0;
    bool mapped = false;
    Access access = Access::kNone;
    MemoryHandle handle = 0;
  };
  struct Launch {
    std::string kernel;
    LaunchConfig config;
    std::vector<LaunchAttribute> attributes;
    std::vector<const void*> arguments;
  };

  std::map<DevicePointer, Range> ranges;  ///< by start of what was mapped
  std::map<DevicePointer, std::vector<char>> reserved;
  std::vector<Launch> launches;
  std::map<std::string, size_t> calls;  ///< of functions that are counted
  Status next_launch = kSuccess;
  size_t parameters = 6;  ///< of the kernels that are launched with any

  static FakeGpu*& current() {
    static FakeGpu* gpu = nullptr;
    return gpu;
  }
};

namespace fake {

inline constexpr uint64_t kPage = 2 << 20;

inline FakeGpu& gpu() { return *FakeGpu::current(); }

inline Status reserve(DevicePointer* at, size_t bytes, size_t, DevicePointer, unsigned long long) {
  std::vector<char> memory(bytes + kPage);
  const auto start = reinterpret_cast<DevicePointer>(memory.data());
  *at = (start + kPage - 1) / kPage * kPage;
  gpu().reserved[*at] = std::move(memory);
  return kSuccess;
}
inline Status unreserve(DevicePointer at, size_t) {
  return gpu().reserved.erase(at) == 1 ? kSuccess : 1;
}
inline Status map(DevicePointer at, size_t bytes, size_t, MemoryHandle handle, unsigned long long) {
  ++gpu().calls["map"];
  gpu().ranges[at] = {bytes, true, Access::kNone, handle};
  return kSuccess;
}
inline Status unmap(DevicePointer at, size_t) {
  ++gpu().calls["unmap"];
  return gpu().ranges.erase(at) == 1 ? kSuccess : 1;
}
inline Status set_access(DevicePointer at, size_t, const MemoryAccess* access, size_t) {
  ++gpu().calls["set_access"];
  if (!gpu().ranges.contains(at)) return 1;
  gpu().ranges[at].access = access->access;
  return kSuccess;
}
inline Status create(MemoryHandle* handle, size_t, const MemoryProperties*, unsigned long long) {
  *handle = ++gpu().calls["create"];
  return kSuccess;
}
inline Status granularity(size_t* bytes, const MemoryProperties*, int) {
  *bytes = kPage;
  return kSuccess;
}
inline Status copy_in(DevicePointer to, const void* from, size_t bytes, StreamHandle) {
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return kSuccess;
}
inline Status copy_out(void* to, DevicePointer from, size_t bytes, StreamHandle) {
  std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  return kSuccess;
}
inline Status copy(DevicePointer to, DevicePointer from, size_t bytes, StreamHandle) {
  std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  return kSuccess;
}
inline Status set_bytes(DevicePointer at, unsigned char value, size_t count, StreamHandle) {
  std::memset(reinterpret_cast<void*>(at), value, count);
  return kSuccess;
}
inline Status attribute(int* value, DeviceAttribute which, int) {
  const std::map<DeviceAttribute, int> values = {{DeviceAttribute::kCapabilityMajor, 9},
                                                 {DeviceAttribute::kMultiprocessors, 132},
                                                 {DeviceAttribute::kMaxSharedPerBlockOptIn, 232448},
                                                 {DeviceAttribute::kVirtualMemory, 1},
                                                 {DeviceAttribute::kClusterLaunch, 1},
                                                 {DeviceAttribute::kClockRateKhz, 2'000'000}};
  const auto found = values.find(which);
  *value = found == values.end() ? 0 : found->second;
  return kSuccess;
}
inline Status name(char* text, int length, int) {
  std::strncpy(text, "a GPU", static_cast<size_t>(length));
  return kSuccess;
}
inline Status memory(size_t* bytes, int) {
  *bytes = size_t{1} << 34;
  return kSuccess;
}
inline Status error_name(Status, const char** text) {
  *text = "CUDA_ERROR_FAKE";
  return kSuccess;
}
inline Status load(ModuleHandle* module, const void*) {
  *module = reinterpret_cast<ModuleHandle>(uintptr_t{1});
  return kSuccess;
}
inline Status function(FunctionHandle* found, ModuleHandle, const char* kernel) {
  static std::vector<std::unique_ptr<std::string>> names;
  names.push_back(std::make_unique<std::string>(kernel));
  *found = reinterpret_cast<FunctionHandle>(names.back().get());
  return kSuccess;
}
inline Status function_attribute(int* value, FunctionAttribute which, FunctionHandle) {
  *value = which == FunctionAttribute::kMaxThreadsPerBlock ? 1024 : 0;
  return kSuccess;
}
inline Status launch(const LaunchConfig* config, FunctionHandle kernel, void** arguments, void**) {
  FakeGpu::Launch launch{*reinterpret_cast<std::string*>(kernel), *config, {}, {}};
  launch.attributes.assign(config->attributes, config->attributes + config->attribute_count);
  const size_t count = arguments == nullptr ? 0 : gpu().parameters;
  launch.arguments.assign(arguments, arguments + count);
  gpu().launches.push_back(std::move(launch));
  return gpu().next_launch;
}

}  // namespace fake

/// A driver whose functions act on `gpu`, which must outlive it.
inline std::unique_ptr<Driver> make_fake_driver(FakeGpu& gpu) {
  FakeGpu::current() = &gpu;
  auto driver = std::make_unique<Driver>();
#define QUERN_FINE(field, symbol, arguments) driver->field = [] arguments -> Status { return 0; };
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
  QUERN_CUDA_FUNCTIONS(QUERN_FINE)
#pragma GCC diagnostic pop
#undef QUERN_FINE
  driver->version = 13000;
  driver->address_reserve = fake::reserve;
  driver->address_free = fake::unreserve;
  driver->memory_map = fake::map;
  driver->memory_unmap = fake::unmap;
  driver->memory_set_access = fake::set_access;
  driver->memory_create = fake::create;
  driver->memory_granularity = fake::granularity;
  driver->copy_to_device = fake::copy_in;
  driver->copy_to_host = fake::copy_out;
  driver->copy_on_device = fake::copy;
  driver->set_bytes = fake::set_bytes;
  driver->device_attribute = fake::attribute;
  driver->device_name = fake::name;
  driver->device_memory = fake::memory;
  driver->error_name = fake::error_name;
  driver->module_load = fake::load;
  driver->module_function = fake::function;
  driver->function_attribute = fake::function_attribute;
  driver->launch = fake::launch;
  return driver;
}

}  // namespace quern::cuda
