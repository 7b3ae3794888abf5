// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/shared_buffer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "device/cpu/runner_protocol.h"

namespace quern {
namespace {

constexpr uint64_t kPage = 4096;
constexpr std::byte kCanary{0xc5};
constexpr int kCollapse = 25;  // MADV_COLLAPSE, newer than our C library's headers

/// Asks for huge pages, as a large allocation of a real program would have. A page that holds
/// nothing cannot be collapsed, so each is touched first. No harm where it is not possible.
void use_huge_pages(std::byte* base, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes; at += kRunnerHugePage) {
    base[at] = std::byte{0};
  }
  madvise(base, bytes, kCollapse);
}

}  // namespace

Result<SharedBuffer> SharedBuffer::make(uint64_t bytes, int slots, bool right, bool child_writes) {
  SharedBuffer buffer;
  uint64_t unit = bytes >= kRunnerHugePage ? kRunnerHugePage : kPage;
  uint64_t stride = (std::max<uint64_t>(bytes, 1) + unit - 1) / unit * unit;
  buffer.shape_ = {bytes, stride, right ? stride - bytes : 0, slots};
  uint64_t total = stride * static_cast<uint64_t>(slots);
  buffer.file_ = FileDescriptor(memfd_create("buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!buffer.file_) return system_error("make", "a shared buffer", errno);
  if (ftruncate(buffer.fd(), static_cast<off_t>(total)) != 0) {
    return system_error("make", "a shared buffer", errno);
  }
  // Reserved with room to align: a huge page must be one in our mapping too.
  void* room = mmap(nullptr, total + unit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return system_error("map", "a shared buffer", errno);
  const uint64_t before = -reinterpret_cast<uint64_t>(room) % unit;  // up to the next whole unit
  void* at = mmap(static_cast<std::byte*>(room) + before, total, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_FIXED, buffer.fd(), 0);
  if (at == MAP_FAILED) return system_error("map", "a shared buffer", errno);
  munmap(room, before);
  buffer.base_ = static_cast<std::byte*>(at);
  buffer.mapped_ = total + unit - before;
  if (unit == kRunnerHugePage) use_huge_pages(buffer.base_, total);
  int seals = F_SEAL_SHRINK | F_SEAL_GROW | (child_writes ? 0 : F_SEAL_FUTURE_WRITE) | F_SEAL_SEAL;
  if (fcntl(buffer.fd(), F_ADD_SEALS, seals) != 0) {
    return system_error("seal", "a shared buffer", errno);
  }
  return buffer;
}

SharedBuffer& SharedBuffer::operator=(SharedBuffer&& other) noexcept {
  std::swap(shape_, other.shape_);
  std::swap(file_, other.file_);
  std::swap(base_, other.base_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

SharedBuffer::~SharedBuffer() {
  if (base_ != nullptr) munmap(base_, mapped_);
}

std::span<std::byte> SharedBuffer::data(int slot) const {
  return {base_ + static_cast<uint64_t>(slot) * shape_.stride + shape_.offset, shape_.bytes};
}

std::span<std::byte> SharedBuffer::slack_before(int slot) const {
  return {base_ + static_cast<uint64_t>(slot) * shape_.stride, shape_.offset};
}

std::span<std::byte> SharedBuffer::slack_after(int slot) const {
  uint64_t end = shape_.offset + shape_.bytes;
  return {base_ + static_cast<uint64_t>(slot) * shape_.stride + end, shape_.stride - end};
}

void SharedBuffer::set_canaries(int slot) {
  std::ranges::fill(slack_before(slot), kCanary);
  std::ranges::fill(slack_after(slot), kCanary);
}

bool SharedBuffer::canaries_ok(int slot) const {
  auto intact = [](std::byte value) { return value == kCanary; };
  return std::ranges::all_of(slack_before(slot), intact) &&
         std::ranges::all_of(slack_after(slot), intact);
}

}  // namespace quern
