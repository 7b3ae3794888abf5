// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

#include "base/result.h"
#include "device/cuda/gpu.h"

namespace quern::cuda {

/// What bytes beside the data hold.
inline constexpr uint8_t kGuard = 0xa5;

/// Memory of a GPU with nothing mapped on either side, whose pages device code may be kept from
/// writing or from touching at all. A fault on them ends the process's use of the GPU: that is the
/// point. The data starts on a 256-byte boundary, or ends as close to its last page's end as an
/// alignment of 16 bytes allows, so that an access past the end faults.
class GpuMemory {
 public:
  enum class Place { kLeft, kRight };

  /// Readable and writable, content undefined. Errors: kEnvironment when memory is short (says how
  /// much was asked for).
  static Result<GpuMemory> make(Gpu& gpu, uint64_t bytes, Place place);

  GpuMemory() = default;
  GpuMemory(GpuMemory&& other) noexcept { *this = std::move(other); }
  GpuMemory& operator=(GpuMemory&& other) noexcept;
  ~GpuMemory();

  DevicePointer data() const { return base_ + offset_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t mapped_bytes() const { return mapped_; }
  /// What lies beside the data in its pages, where writes do not fault.
  DevicePointer before() const { return base_; }
  uint64_t before_bytes() const { return offset_; }
  DevicePointer after() const { return data() + bytes_; }
  uint64_t after_bytes() const { return mapped_ - offset_ - bytes_; }

  /// Queues setting every byte, and what lies beside the data to `kGuard`.
  Result<void> fill(uint8_t byte);
  /// Trades contents with memory that was made alike; both keep their addresses, and neither can
  /// be touched until `allow`. Nothing may be running.
  Result<void> trade(GpuMemory& other);

  /// What device code may do with it from the next launch on. Nothing may be running.
  Result<void> allow(Access access);
  Access access() const { return access_; }

 private:
  Gpu* gpu_ = nullptr;
  DevicePointer reserved_at_ = 0, base_ = 0;
  uint64_t reserved_ = 0, mapped_ = 0, offset_ = 0, bytes_ = 0;
  MemoryHandle handle_ = 0;
  bool is_mapped_ = false;
  Access access_ = Access::kNone;
};

}  // namespace quern::cuda
