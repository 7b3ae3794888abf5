// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "device/cuda/gpu_guard.h"
#include "device/cuda/gpu_memory.h"
#include "device/device_backend.h"

namespace quern::cuda {

/// The buffers of a worker, by name, and what device code may do with each. Changing the rights of
/// memory takes the driver a tenth of a millisecond, so they are changed when it matters: raised
/// when we touch a buffer ourselves, lowered to what was asked for before a candidate runs. Small
/// buffers that are hidden from candidates share pages, to be hidden together.
class GpuBuffers {
 public:
  explicit GpuBuffers(Gpu& gpu) : gpu_(&gpu) {}

  Result<void> allocate(BufferId id, uint64_t bytes, Placement placement);
  Result<void> release(BufferId id);
  /// From the next candidate's launch on.
  Result<void> allow(BufferId id, Access access);
  /// The candidate at hand knows its address: it stays where it is.
  Result<void> pin(BufferId id);

  /// As `DeviceBackend::exchange`. Not for buffers that were hidden by `allow`.
  Result<void> exchange(BufferId shown, BufferId hidden);

  /// Where it lies, once we may do `needed` with it. Errors: kUsage: no such buffer.
  struct View {
    DevicePointer data = 0;
    uint64_t bytes = 0;
  };
  Result<View> touch(BufferId id, Access needed);
  /// The memory of a buffer that candidates may write; null for every other one.
  Result<GpuMemory*> writable(BufferId id);

  /// All that device code of candidates may touch, with pages of its own each.
  std::vector<GuardRange> visible() const;

  /// Lowers all rights to what was asked for. Before device code of a candidate runs.
  Result<void> protect();

 private:
  struct Shelf {
    GpuMemory memory;
    uint64_t used = 0;
  };
  struct Buffer {
    GpuMemory memory;  ///< of its own; none while it lies on a shelf
    Access wanted = Access::kReadWrite;
    bool pinned = false;
    Shelf* shelf = nullptr;
    uint64_t offset = 0, bytes = 0;
  };
  Result<Buffer*> find(BufferId id);
  Result<void> shelve(Buffer& buffer);

  Gpu* gpu_;
  std::map<BufferId, Buffer> buffers_;
  std::vector<std::unique_ptr<Shelf>> shelves_;
  std::set<BufferId> raised_;  ///< buffers with pages of their own and more rights than wanted
};

}  // namespace quern::cuda
