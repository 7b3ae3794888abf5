// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace quern {

/// The steady clock, in ns since an arbitrary start.
int64_t steady_now_ns();

/// Seconds between two readings of the steady clock.
inline double seconds_between(int64_t start_ns, int64_t end_ns) {
  return static_cast<double>(end_ns - start_ns) * 1e-9;
}

}  // namespace quern
