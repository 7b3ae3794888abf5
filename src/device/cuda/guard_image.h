// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "device/cuda/ptx_guard.h"

namespace quern::cuda {

/// What stands behind the machine code of guarded kernels in their image; the driver does not read
/// so far.
struct GuardNotes {
  std::vector<GuardSite> sites;
  std::vector<std::string> globals;  ///< as `GuardedPtx`'s
  /// Of one thread in one launch, not counting what a check finds beyond 2 ms since the one before
  /// it: another context may have held the device.
  uint64_t limit_ns = 60'000'000;
};

std::string pack_guarded(const std::string& cubin, const GuardNotes& notes);
/// The same image with another limit; an image without guards stays as it is.
std::string with_guard_limit(std::string image, uint64_t limit_ns);
/// Nothing for an image without guards.
std::optional<GuardNotes> read_guard_notes(std::string_view image);

}  // namespace quern::cuda
