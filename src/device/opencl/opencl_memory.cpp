// SPDX-License-Identifier: Apache-2.0
#include "device/opencl/opencl_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "device/fault_report.h"

namespace quern {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kGuard = uint64_t{2} << 20;  ///< without access, on each side, on a CPU
constexpr uint64_t kPadding = 4096;             ///< holding the pattern, on each side, elsewhere
constexpr uint64_t kAlignment = 16;
constexpr std::byte kPattern{0xc5};

bool holds_pattern(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == kPattern; });
}

}  // namespace

Result<OpenClMemory> OpenClMemory::make(OpenClDevice& device, BufferId id, uint64_t bytes,
                                        Placement placement) {
  OpenClMemory memory;
  memory.device_ = &device;
  memory.id_ = id;
  memory.bytes_ = bytes;
  if (bytes == 0 || bytes > device.properties.memory_bytes) {
    return Error{ErrorKind::kEnvironment,
                 fmt::format("a buffer of {} bytes does not fit the {} bytes of {}", bytes,
                             device.properties.memory_bytes, device.properties.name),
                 ""};
  }
  if (device.properties.shares_host) {
    QUERN_TRY(memory.map_host(placement));
  } else {
    QUERN_TRY(memory.make_parent());
  }
  QUERN_TRY(memory.renew_guards());
  return memory;
}

OpenClMemory& OpenClMemory::operator=(OpenClMemory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(id_, other.id_);
  std::swap(bytes_, other.bytes_);
  std::swap(memory_, other.memory_);
  std::swap(access_, other.access_);
  std::swap(reserved_, other.reserved_);
  std::swap(reserved_bytes_, other.reserved_bytes_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  std::swap(offset_, other.offset_);
  std::swap(parent_, other.parent_);
  std::swap(kept_, other.kept_);
  return *this;
}

OpenClMemory::~OpenClMemory() {
  if (memory_ != nullptr) device_->api.ReleaseMemObject(memory_);
  if (parent_ != nullptr) device_->api.ReleaseMemObject(parent_);
  if (reserved_ == nullptr) return;
  forget_range(id_);
  munmap(reserved_, reserved_bytes_);
}

Result<void> OpenClMemory::map_host(Placement placement) {
  mapped_bytes_ = (bytes_ + kPage - 1) / kPage * kPage;
  reserved_bytes_ = mapped_bytes_ + 2 * kGuard;
  void* at =
      mmap(nullptr, reserved_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return system_error("map", "a device buffer", errno);
  reserved_ = static_cast<std::byte*>(at);
  if (placement == Placement::kRight) {
    offset_ = (mapped_bytes_ - bytes_) / kAlignment * kAlignment;
  }
  QUERN_TRY(protect(DeviceAccess::kReadWrite));
  std::byte* data = reserved_ + kGuard + offset_;
  name_range(id_, data, bytes_);
  cl_int status = CL_SUCCESS;
  memory_ = device_->api.CreateBuffer(device_->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR,
                                      bytes_, data, &status);
  return device_->check(status, fmt::format("make a buffer of {} bytes", bytes_));
}

Result<void> OpenClMemory::make_parent() {
  cl_int status = CL_SUCCESS;
  const uint64_t padded = (bytes_ + kPage - 1) / kPage * kPage + 2 * kPadding;
  parent_ =
      device_->api.CreateBuffer(device_->context, CL_MEM_READ_WRITE, padded, nullptr, &status);
  QUERN_TRY(device_->check(status, fmt::format("make a buffer of {} bytes", bytes_)));
  const cl_buffer_region region{kPadding, bytes_};
  memory_ = device_->api.CreateSubBuffer(parent_, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION,
                                         &region, &status);
  return device_->check(status, "make a part of a buffer");
}

Result<void> OpenClMemory::protect(DeviceAccess access) {
  const int flags = access == DeviceAccess::kNone   ? PROT_NONE
                    : access == DeviceAccess::kRead ? PROT_READ
                                                    : PROT_READ | PROT_WRITE;
  if (mprotect(reserved_ + kGuard, mapped_bytes_, flags) != 0) {
    return system_error("protect", "a device buffer", errno);
  }
  return {};
}

Result<void> OpenClMemory::allow(DeviceAccess access) {
  if (access == access_) return {};
  if (reserved_ != nullptr) {
    QUERN_TRY(protect(access));
  } else if (access == DeviceAccess::kRead) {
    QUERN_ASSIGN(kept_, contents());
  } else {
    kept_.clear();
  }
  access_ = access;
  return {};
}

Result<std::vector<std::byte>> OpenClMemory::contents() const {
  std::vector<std::byte> bytes(bytes_);
  QUERN_TRY(
      device_->check(device_->api.EnqueueReadBuffer(device_->queue, memory_, CL_TRUE, 0, bytes_,
                                                    bytes.data(), 0, nullptr, nullptr),
                     "read a buffer"));
  return bytes;
}

Result<void> OpenClMemory::upload(std::span<const std::byte> bytes) {
  if (bytes.size() != bytes_) {
    return Error{ErrorKind::kInternal, "a block and its buffer differ in size", ""};
  }
  if (reserved_ == nullptr) {
    QUERN_TRY(
        device_->check(device_->api.EnqueueWriteBuffer(device_->queue, memory_, CL_TRUE, 0, bytes_,
                                                       bytes.data(), 0, nullptr, nullptr),
                       "write a buffer"));
    if (access_ == DeviceAccess::kRead) kept_.assign(bytes.begin(), bytes.end());
    return {};
  }
  QUERN_TRY(protect(DeviceAccess::kReadWrite));
  std::ranges::copy(bytes, reserved_ + kGuard + offset_);
  return protect(access_);
}

Result<void> OpenClMemory::download(std::span<std::byte> bytes) const {
  if (bytes.size() != bytes_) {
    return Error{ErrorKind::kInternal, "a block and its buffer differ in size", ""};
  }
  if (reserved_ != nullptr) {
    std::copy_n(reserved_ + kGuard + offset_, bytes_, bytes.begin());
    return {};
  }
  return device_->check(device_->api.EnqueueReadBuffer(device_->queue, memory_, CL_TRUE, 0, bytes_,
                                                       bytes.data(), 0, nullptr, nullptr),
                        "read a buffer");
}

Result<void> OpenClMemory::fill(uint8_t byte) {
  if (reserved_ != nullptr) {
    std::memset(reserved_ + kGuard + offset_, byte, bytes_);
  } else {
    QUERN_TRY(device_->check(device_->api.EnqueueFillBuffer(device_->queue, memory_, &byte, 1, 0,
                                                            bytes_, 0, nullptr, nullptr),
                             "fill a buffer"));
  }
  return renew_guards();
}

Result<void> OpenClMemory::renew_guards() {
  if (reserved_ != nullptr) {
    std::byte* pages = reserved_ + kGuard;
    std::fill(pages, pages + offset_, kPattern);
    std::fill(pages + offset_ + bytes_, pages + mapped_bytes_, kPattern);
    return {};
  }
  const uint64_t after = kPadding + bytes_;
  for (const uint64_t start : {uint64_t{0}, after}) {
    QUERN_TRY(device_->check(device_->api.EnqueueFillBuffer(device_->queue, parent_, &kPattern, 1,
                                                            start, kPadding, 0, nullptr, nullptr),
                             "fill a guard"));
  }
  return device_->check(device_->api.Finish(device_->queue), "fill a guard");
}

Result<bool> OpenClMemory::intact() const {
  if (reserved_ != nullptr) {
    const std::byte* pages = reserved_ + kGuard;
    return holds_pattern({pages, offset_}) &&
           holds_pattern({pages + offset_ + bytes_, mapped_bytes_ - offset_ - bytes_});
  }
  std::vector<std::byte> guard(kPadding);
  const uint64_t after = kPadding + bytes_;
  for (const uint64_t start : {uint64_t{0}, after}) {
    QUERN_TRY(
        device_->check(device_->api.EnqueueReadBuffer(device_->queue, parent_, CL_TRUE, start,
                                                      kPadding, guard.data(), 0, nullptr, nullptr),
                       "read a guard"));
    if (!holds_pattern(guard)) return false;
  }
  if (kept_.empty()) return true;
  QUERN_ASSIGN(const std::vector<std::byte> now, contents());
  return now == kept_;
}

}  // namespace quern
