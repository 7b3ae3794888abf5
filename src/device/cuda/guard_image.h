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
};

std::string pack_guarded(std::string cubin, const GuardNotes& notes);
/// Nothing for an image without guards.
std::optional<GuardNotes> read_guard_notes(std::string_view image);

}  // namespace quern::cuda
