// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "device/cuda/gpu.h"
#include "device/cuda/gpu_call.h"
#include "device/cuda/gpu_memory.h"
#include "device/cuda/guard_image.h"
#include "device/guard_finding.h"

namespace quern::cuda {

/// Memory that device code may touch: whole pages, as the hardware sees it, and the data in them.
struct GuardRange {
  DevicePointer begin = 0, end = 0;
  bool writable = false;
  BufferId buffer = 0;  ///< 0: none of a task's
  DevicePointer data = 0;
  uint64_t bytes = 0;
};
GuardRange guard_range(const GpuMemory& memory, bool writable, BufferId buffer);

/// `quern_guard_table` for these ranges: sorted, those that touch each other as one. Errors:
/// kUsage: there are too many.
Result<std::vector<uint64_t>> guard_table(std::vector<GuardRange> ranges, uint64_t limit_ns);

/// What a report says, with the range nearest to its address.
GuardFinding guard_finding(const GuardReport& report, const GuardNotes& notes,
                           const std::vector<GuardRange>& ranges, uint64_t limit_ns);

/// The guards of a module that was built with them.
class GpuGuard {
 public:
  /// Nothing for an image without guards. Errors: the module lacks what guards need.
  static Result<std::optional<GpuGuard>> find(Gpu& gpu, const GpuModule& module,
                                              const std::string& image);

  /// From the next launch on these ranges may be touched, and those of the module's own variables.
  Result<void> arm(Gpu& gpu, std::vector<GuardRange> ranges);
  /// What was caught since. Waits for everything queued.
  Result<std::optional<GuardFinding>> caught(Gpu& gpu) const;

 private:
  GuardNotes notes_;
  DevicePointer table_at_ = 0, report_at_ = 0;
  std::vector<GuardRange> own_, ranges_;
  std::vector<uint64_t> table_;
};

}  // namespace quern::cuda
