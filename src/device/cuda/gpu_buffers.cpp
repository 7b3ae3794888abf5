// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/gpu_buffers.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern::cuda {
namespace {

constexpr uint64_t kShelfBytes = uint64_t{64} << 20;
constexpr uint64_t kSmallBytes = uint64_t{8} << 20;
constexpr uint64_t kAlignment = 256;

bool enough(Access have, Access needed) {
  return static_cast<int>(have) >= static_cast<int>(needed);
}

}  // namespace

Result<GpuBuffers::Buffer*> GpuBuffers::find(BufferId id) {
  const auto found = buffers_.find(id);
  if (found != buffers_.end()) return &found->second;
  return Error{ErrorKind::kUsage, fmt::format("the device worker has no buffer {}", id), ""};
}

Result<void> GpuBuffers::allocate(BufferId id, uint64_t bytes, Placement placement) {
  const bool right = placement == Placement::kRight;
  Buffer buffer;
  QUERN_ASSIGN(
      buffer.memory,
      GpuMemory::make(*gpu_, bytes, right ? GpuMemory::Place::kRight : GpuMemory::Place::kLeft));
  buffer.bytes = bytes;
  buffers_.insert_or_assign(id, std::move(buffer));
  raised_.erase(id);
  return {};
}

Result<void> GpuBuffers::release(BufferId id) {
  QUERN_ASSIGN(Buffer * buffer, find(id));
  (void)buffer;
  QUERN_TRY(gpu_->synchronize("releasing a buffer"));
  // What lay on a shelf stays taken: such buffers live as long as their worker.
  buffers_.erase(id);
  raised_.erase(id);
  return {};
}

Result<void> GpuBuffers::pin(BufferId id) {
  QUERN_ASSIGN(Buffer * buffer, find(id));
  buffer->pinned = true;
  if (buffer->shelf == nullptr) return {};
  return Error{ErrorKind::kUsage, fmt::format("buffer {} is hidden from candidates", id), ""};
}

/// Moves a small buffer to pages it shares.
Result<void> GpuBuffers::shelve(Buffer& buffer) {
  const uint64_t room = (buffer.bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (shelves_.empty() || shelves_.back()->used + room > kShelfBytes) {
    auto shelf = std::make_unique<Shelf>();
    QUERN_ASSIGN(shelf->memory, GpuMemory::make(*gpu_, kShelfBytes, GpuMemory::Place::kLeft));
    shelves_.push_back(std::move(shelf));
  }
  Shelf& shelf = *shelves_.back();
  QUERN_TRY(shelf.memory.allow(Access::kReadWrite));
  QUERN_TRY(buffer.memory.allow(Access::kReadWrite));
  QUERN_TRY(
      gpu_->check(gpu_->driver().copy_on_device(shelf.memory.data() + shelf.used,
                                                buffer.memory.data(), buffer.bytes, gpu_->stream()),
                  "hiding a buffer"));
  QUERN_TRY(gpu_->synchronize("hiding a buffer"));
  buffer.memory = GpuMemory();
  buffer.shelf = &shelf;
  buffer.offset = shelf.used;
  shelf.used += room;
  return {};
}

Result<void> GpuBuffers::allow(BufferId id, Access access) {
  QUERN_ASSIGN(Buffer * buffer, find(id));
  if (buffer->shelf != nullptr) {
    if (access == Access::kNone) return {};
    return Error{ErrorKind::kUsage, fmt::format("buffer {} stays hidden from candidates", id), ""};
  }
  buffer->wanted = access;
  if (access == Access::kNone && !buffer->pinned && buffer->bytes <= kSmallBytes) {
    raised_.erase(id);
    return shelve(*buffer);
  }
  if (!enough(buffer->memory.access(), access)) {
    raised_.erase(id);
    return buffer->memory.allow(access);
  }
  if (buffer->memory.access() != access) raised_.insert(id);
  return {};
}

Result<void> GpuBuffers::exchange(BufferId shown, BufferId hidden) {
  QUERN_ASSIGN(Buffer * one, find(shown));
  QUERN_ASSIGN(Buffer * other, find(hidden));
  const bool alike = one->shelf == nullptr && other->shelf == nullptr &&
                     one->bytes == other->bytes &&
                     one->memory.before_bytes() == other->memory.before_bytes();
  if (!alike) {
    return Error{ErrorKind::kUsage,
                 fmt::format("buffers {} and {} cannot be exchanged", shown, hidden), ""};
  }
  QUERN_TRY(gpu_->synchronize("exchanging buffers"));
  QUERN_TRY(one->memory.trade(other->memory));
  other->wanted = Access::kNone;
  raised_.erase(shown);
  raised_.erase(hidden);
  return one->memory.allow(one->wanted);
}

Result<GpuBuffers::View> GpuBuffers::touch(BufferId id, Access needed) {
  QUERN_ASSIGN(Buffer * buffer, find(id));
  if (buffer->shelf != nullptr) {
    QUERN_TRY(buffer->shelf->memory.allow(Access::kReadWrite));
    return View{buffer->shelf->memory.data() + buffer->offset, buffer->bytes};
  }
  if (!enough(buffer->memory.access(), needed)) {
    QUERN_TRY(buffer->memory.allow(needed));
    raised_.insert(id);
  }
  return View{buffer->memory.data(), buffer->bytes};
}

Result<GpuMemory*> GpuBuffers::writable(BufferId id) {
  QUERN_ASSIGN(Buffer * buffer, find(id));
  const bool open = buffer->shelf == nullptr && buffer->wanted == Access::kReadWrite;
  return open ? &buffer->memory : nullptr;
}

std::vector<GuardRange> GpuBuffers::visible() const {
  std::vector<GuardRange> ranges;
  for (const auto& [id, buffer] : buffers_) {
    if (buffer.shelf != nullptr || buffer.wanted == Access::kNone) continue;
    ranges.push_back(guard_range(buffer.memory, buffer.wanted == Access::kReadWrite, id));
  }
  return ranges;
}

Result<void> GpuBuffers::protect() {
  const bool shelves_open = std::ranges::any_of(
      shelves_, [](const auto& shelf) { return shelf->memory.access() != Access::kNone; });
  if (raised_.empty() && !shelves_open) return {};
  QUERN_TRY(gpu_->synchronize("protecting memory"));
  for (const auto& shelf : shelves_) QUERN_TRY(shelf->memory.allow(Access::kNone));
  for (const BufferId id : raised_) {
    Buffer& buffer = buffers_.at(id);
    QUERN_TRY(buffer.memory.allow(buffer.wanted));
  }
  raised_.clear();
  return {};
}

}  // namespace quern::cuda
