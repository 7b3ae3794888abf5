// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <ctime>

namespace quern {

int64_t steady_now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace quern
