// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace quern {

/// The steady clock, in ns since an arbitrary start.
int64_t steady_now_ns();

/// Seconds between two readings of the steady clock.
inline double seconds_between(int64_t start_ns, int64_t end_ns) {
  return static_cast<double>(end_ns - start_ns) * 1e-9;
}

/// The calendar's time, UTC, in ISO 8601 with milliseconds: "2026-01-31T12:00:00.000Z". For people
/// and records; nothing is decided by it.
std::string utc_now();

}  // namespace quern
