// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "device/cuda/cubin.h"
#include "device/cuda/occupancy.h"
#include "device/cuda/sass.h"

namespace quern::cuda {

/// What is known of one kernel of a candidate without hardware counters.
struct KernelFacts {
  CubinKernel resources;
  const SassStatistics* sass = nullptr;  ///< null where it was not disassembled
  int block_threads = 0;
  int64_t shared_bytes = 0;  ///< static and dynamic, of a block
  double blocks = 0;         ///< of the grid
  int multiprocessors = 0;   ///< of the device; 0: not known
  Occupancy occupancy;
};

/// One thing that static signals say, and what it usually calls for.
struct Advice {
  double weight = 0;  ///< 0–1: the likelier to matter the larger
  std::string finding, remedy;
};

/// The findings on one kernel, the weightiest first.
std::vector<Advice> advise(const KernelFacts& facts);

}  // namespace quern::cuda
