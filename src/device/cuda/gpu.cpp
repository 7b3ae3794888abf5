// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/gpu.h"

#include <fmt/format.h>

#include <vector>

#include "device/cuda/cuda_source.h"

namespace quern::cuda {
namespace {

constexpr unsigned kSpinWhileWaiting = 1;  ///< CU_CTX_SCHED_SPIN: waits are short and timed
constexpr unsigned kNonBlocking = 1;       ///< CU_STREAM_NON_BLOCKING

std::string uuid_text(const Uuid& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    text += fmt::format("{:02x}", uuid.bytes[i]);
    if (i == 3 || i == 5 || i == 7 || i == 9) text += '-';
  }
  return text;
}

Result<GpuProperties> properties_of(const Driver& driver, int ordinal) {
  GpuProperties p;
  p.ordinal = ordinal;
  p.driver_version = driver.version;
  int device = 0;
  QUERN_TRY(driver.check(driver.device_get(&device, ordinal), fmt::format("GPU {}", ordinal)));
  char name[256] = {};
  QUERN_TRY(driver.check(driver.device_name(name, sizeof name, device), "the GPU's name"));
  p.name = name;
  Uuid uuid;
  if (driver.device_uuid(&uuid, device) == kSuccess) p.uuid = uuid_text(uuid);
  size_t bytes = 0;
  QUERN_TRY(driver.check(driver.device_memory(&bytes, device), "the GPU's memory"));
  p.memory_bytes = static_cast<int64_t>(bytes);
  const auto ask = [&](DeviceAttribute attribute) {
    int value = 0;
    return driver.device_attribute(&value, attribute, device) == kSuccess ? value : 0;
  };
  p.major = ask(DeviceAttribute::kCapabilityMajor);
  p.minor = ask(DeviceAttribute::kCapabilityMinor);
  p.l2_bytes = ask(DeviceAttribute::kL2Bytes);
  p.multiprocessors = ask(DeviceAttribute::kMultiprocessors);
  p.clock_khz = ask(DeviceAttribute::kClockRateKhz);
  p.memory_clock_khz = ask(DeviceAttribute::kMemoryClockKhz);
  p.memory_bus_bits = ask(DeviceAttribute::kMemoryBusBits);
  p.max_threads_per_block = ask(DeviceAttribute::kMaxThreadsPerBlock);
  p.max_threads_per_multiprocessor = ask(DeviceAttribute::kMaxThreadsPerMultiprocessor);
  p.max_blocks_per_multiprocessor = ask(DeviceAttribute::kMaxBlocksPerMultiprocessor);
  p.registers_per_multiprocessor = ask(DeviceAttribute::kRegistersPerMultiprocessor);
  p.shared_per_block = ask(DeviceAttribute::kMaxSharedPerBlock);
  p.shared_per_block_opt_in = ask(DeviceAttribute::kMaxSharedPerBlockOptIn);
  p.shared_per_multiprocessor = ask(DeviceAttribute::kSharedPerMultiprocessor);
  p.clusters = ask(DeviceAttribute::kClusterLaunch) != 0;
  p.virtual_memory = ask(DeviceAttribute::kVirtualMemory) != 0;
  return p;
}

}  // namespace

std::string GpuProperties::architecture() const { return architecture_of(major, minor); }

MultiprocessorLimits GpuProperties::limits() const {
  return {max_threads_per_multiprocessor, max_blocks_per_multiprocessor,
          registers_per_multiprocessor, shared_per_multiprocessor,
          shared_per_block_opt_in > shared_per_block ? 1024 : 0};
}

Result<std::vector<GpuProperties>> list_gpus(const Driver& driver) {
  int count = 0;
  QUERN_TRY(driver.check(driver.device_count(&count), "counting GPUs"));
  std::vector<GpuProperties> list;
  for (int i = 0; i < count; ++i) {
    QUERN_ASSIGN(GpuProperties properties, properties_of(driver, i));
    list.push_back(std::move(properties));
  }
  return list;
}

Result<std::unique_ptr<Gpu>> Gpu::open(std::unique_ptr<Driver> driver, int ordinal) {
  std::unique_ptr<Gpu> gpu(new Gpu);
  gpu->driver_ = std::move(driver);
  const Driver& api = *gpu->driver_;
  QUERN_ASSIGN(gpu->properties_, properties_of(api, ordinal));
  if (!gpu->properties_.virtual_memory) {
    return Error{ErrorKind::kEnvironment,
                 gpu->properties_.name + " has no virtual memory management",
                 "inputs could not be protected from candidates; use a GPU of 2017 or later"};
  }
  int device = 0;
  QUERN_TRY(gpu->check(api.device_get(&device, ordinal), "the GPU"));
  (void)api.primary_context_flags(device, kSpinWhileWaiting);
  QUERN_TRY(gpu->check(api.primary_context_retain(&gpu->context_, device), "the GPU's context"));
  QUERN_TRY(gpu->check(api.context_set_current(gpu->context_), "the GPU's context"));
  QUERN_TRY(gpu->check(api.stream_create(&gpu->stream_, kNonBlocking), "a stream"));
  MemoryProperties properties;
  properties.location.device = ordinal;
  size_t granularity = 0;
  QUERN_TRY(gpu->check(api.memory_granularity(&granularity, &properties, 0), "memory"));
  gpu->granularity_ = granularity;
  return gpu;
}

Gpu::~Gpu() {
  // The process ends with the GPU's owner; what a faulted context still holds goes then.
  if (fault_ == kSuccess && stream_ != nullptr) (void)driver_->stream_destroy(stream_);
}

Result<void> Gpu::check(Status status, std::string_view what) {
  if (status == kSuccess) return {};
  if (is_device_fault(status) && fault_ == kSuccess) fault_ = status;
  return driver_->check(status, what);
}

Result<void> Gpu::synchronize(std::string_view what) {
  return check(driver_->stream_synchronize(stream_), what);
}

Result<uint64_t> Gpu::free_memory() {
  size_t free = 0, total = 0;
  QUERN_TRY(check(driver_->memory_info(&free, &total), "the GPU's free memory"));
  return static_cast<uint64_t>(free);
}

}  // namespace quern::cuda
