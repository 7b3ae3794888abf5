// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "device/device_backend.h"

namespace quern {

/// The last words of a worker whose device code faulted in the worker's own address space.
struct FaultReport {
  enum class Place : uint32_t { kElsewhere, kInside, kPastEnd, kBeforeStart };
  int32_t signal = 0;
  uint32_t wrote = 0;
  uint64_t address = 0;
  Place place = Place::kElsewhere;
  BufferId buffer = 0;
  uint64_t distance = 0;  ///< bytes from the start (inside), the end or the start (outside)
};

/// Ids from here on are scratch: the first buffer of the plan, the second, ….
inline constexpr BufferId kFirstScratchId = BufferId{1} << 31;

/// Tells `install_fault_reporter` where data lies. Not thread-safe; up to 512 ranges, of which the
/// rest are not named in reports.
void name_range(BufferId id, const void* data, uint64_t bytes);
void forget_range(BufferId id);

/// From now on a fatal signal writes a `FaultReport` to `fd`, then ends the process by that signal.
void install_fault_reporter(int fd);

}  // namespace quern
