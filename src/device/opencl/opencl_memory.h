// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "device/opencl/opencl_device.h"

namespace quern {

/// A buffer of an OpenCL device between guards. On a CPU it is memory of ours that the driver uses
/// as it is: its neighbours are not mapped, and pages can be kept from being written. Elsewhere it
/// is a part of a larger buffer whose rest holds a pattern; "read only" then means that changes are
/// found afterwards.
class OpenClMemory {
 public:
  /// `device` must outlive the memory. Errors: kEnvironment when memory is short.
  static Result<OpenClMemory> make(OpenClDevice& device, BufferId id, uint64_t bytes,
                                   Placement placement);

  OpenClMemory() = default;
  OpenClMemory(OpenClMemory&& other) noexcept { *this = std::move(other); }
  OpenClMemory& operator=(OpenClMemory&& other) noexcept;
  ~OpenClMemory();

  cl_mem memory() const { return memory_; }
  uint64_t bytes() const { return bytes_; }
  Result<void> allow(DeviceAccess access);
  Result<void> upload(std::span<const std::byte> bytes);
  Result<void> download(std::span<std::byte> bytes) const;
  Result<void> fill(uint8_t byte);
  /// False when something was written beside the data, or into a buffer that was only to be read.
  Result<bool> intact() const;

 private:
  Result<void> map_host(Placement placement);
  Result<void> make_parent();
  Result<void> protect(DeviceAccess access);
  Result<void> renew_guards();
  Result<std::vector<std::byte>> contents() const;

  OpenClDevice* device_ = nullptr;
  BufferId id_ = 0;
  uint64_t bytes_ = 0;
  cl_mem memory_ = nullptr;
  DeviceAccess access_ = DeviceAccess::kReadWrite;
  // On a CPU.
  std::byte* reserved_ = nullptr;
  uint64_t reserved_bytes_ = 0, mapped_bytes_ = 0, offset_ = 0;
  // Elsewhere.
  cl_mem parent_ = nullptr;
  std::vector<std::byte> kept_;  ///< what a read-only buffer held
};

}  // namespace quern
