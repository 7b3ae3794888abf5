// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace quern::cuda {

/// What one multiprocessor has to share out among blocks. Source: CUDA C++ Programming Guide,
/// "Compute Capabilities", table of technical specifications.
struct MultiprocessorLimits {
  int threads = 2048;
  int blocks = 32;
  int registers = 65536;
  int64_t shared_bytes = 0;
  int64_t reserved_shared_bytes = 1024;  ///< of every block, by the driver
};

/// By compute capability ("sm_90a"), for when there is no GPU to ask; nothing for one not known.
std::optional<MultiprocessorLimits> limits_of(const std::string& architecture);

struct Occupancy {
  int blocks = 0;               ///< resident on a multiprocessor at once; 0: it cannot run
  double share = 0;             ///< resident threads over the most there can be, 0–1
  const char* limited_by = "";  ///< "registers", "shared memory", "threads" or "blocks"
};

/// How many blocks of `threads` threads fit. Registers are handed out to warps, 256 at a time.
Occupancy occupancy_of(const MultiprocessorLimits& limits, int registers, int threads,
                       int64_t shared_bytes);

}  // namespace quern::cuda
