// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/gpu_memory.h"

#include <fmt/format.h>

#include "base/check.h"

namespace quern::cuda {
namespace {

constexpr uint64_t kVectorBytes = 16;

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

Result<GpuMemory> GpuMemory::make(Gpu& gpu, uint64_t bytes, Place place) {
  const Driver& api = gpu.driver();
  GpuMemory memory;
  memory.gpu_ = &gpu;
  memory.bytes_ = bytes;
  memory.mapped_ = round_up(bytes == 0 ? 1 : bytes, gpu.granularity());
  if (place == Place::kRight) {
    memory.offset_ = (memory.mapped_ - bytes) / kVectorBytes * kVectorBytes;
  }
  memory.reserved_ = memory.mapped_ + 2 * gpu.granularity();
  const std::string what = fmt::format("{} bytes of the GPU's memory", bytes);
  QUERN_TRY(gpu.check(api.address_reserve(&memory.reserved_at_, memory.reserved_, 0, 0, 0), what));
  memory.base_ = memory.reserved_at_ + gpu.granularity();
  MemoryProperties properties;
  properties.location.device = gpu.properties().ordinal;
  QUERN_TRY(gpu.check(api.memory_create(&memory.handle_, memory.mapped_, &properties, 0), what));
  QUERN_TRY(gpu.check(api.memory_map(memory.base_, memory.mapped_, 0, memory.handle_, 0), what));
  memory.is_mapped_ = true;
  QUERN_TRY(memory.allow(Access::kReadWrite));
  return memory;
}

GpuMemory& GpuMemory::operator=(GpuMemory&& other) noexcept {
  std::swap(gpu_, other.gpu_);
  std::swap(reserved_at_, other.reserved_at_);
  std::swap(base_, other.base_);
  std::swap(reserved_, other.reserved_);
  std::swap(mapped_, other.mapped_);
  std::swap(offset_, other.offset_);
  std::swap(bytes_, other.bytes_);
  std::swap(handle_, other.handle_);
  std::swap(is_mapped_, other.is_mapped_);
  std::swap(access_, other.access_);
  return *this;
}

GpuMemory::~GpuMemory() {
  if (gpu_ == nullptr) return;
  const Driver& api = gpu_->driver();
  if (is_mapped_) (void)api.memory_unmap(base_, mapped_);
  if (handle_ != 0) (void)api.memory_release(handle_);
  if (reserved_at_ != 0) (void)api.address_free(reserved_at_, reserved_);
}

Result<void> GpuMemory::fill(uint8_t byte) {
  const Driver& api = gpu_->driver();
  const auto set = [&](DevicePointer at, uint64_t count, uint8_t value) -> Result<void> {
    if (count == 0) return {};
    return gpu_->check(api.set_bytes(at, value, count, gpu_->stream()), "filling");
  };
  QUERN_TRY(set(before(), before_bytes(), kGuard));
  QUERN_TRY(set(data(), bytes(), byte));
  return set(after(), after_bytes(), kGuard);
}

Result<void> GpuMemory::trade(GpuMemory& other) {
  QUERN_CHECK(bytes_ == other.bytes_ && offset_ == other.offset_, "memory of another shape");
  QUERN_TRY(allow(Access::kNone));
  QUERN_TRY(other.allow(Access::kNone));
  std::swap(handle_, other.handle_);
  return {};
}

Result<void> GpuMemory::allow(Access access) {
  const Driver& api = gpu_->driver();
  if (access == access_) return {};
  if (access == Access::kNone) {
    QUERN_TRY(gpu_->check(api.memory_unmap(base_, mapped_), "hiding memory"));
    is_mapped_ = false;
    access_ = access;
    return {};
  }
  if (!is_mapped_) {
    QUERN_TRY(gpu_->check(api.memory_map(base_, mapped_, 0, handle_, 0), "showing memory"));
    is_mapped_ = true;
  }
  MemoryAccess rights;
  rights.location.device = gpu_->properties().ordinal;
  rights.access = access;
  QUERN_TRY(gpu_->check(api.memory_set_access(base_, mapped_, &rights, 1), "protecting memory"));
  access_ = access;
  return {};
}

}  // namespace quern::cuda
