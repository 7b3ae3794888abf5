// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace quern::cuda {

/// Accesses by width: 1, 2, 4, 8 and 16 bytes a thread.
using WidthCounts = std::array<int, 5>;

/// What the machine code of one kernel is made of: instructions as they stand, not as often as they
/// run.
struct SassStatistics {
  std::string kernel;
  int instructions = 0;
  WidthCounts global_loads{}, global_stores{}, shared_loads{}, shared_stores{};
  int local_loads = 0, local_stores = 0;  ///< spills, and arrays that are not in registers
  int async_copies = 0;                   ///< LDGSTS: global to shared, past the registers
  int bulk_copies = 0;                    ///< UBLKCP, UTMALDG and their like: TMA
  int matrix = 0;                         ///< HMMA, IMMA, DMMA: a warp's matrix instruction
  int warpgroup_matrix = 0;               ///< HGMMA and its like: wgmma
  int ldmatrix = 0;
  int fma_f32 = 0, other_f32 = 0, f64 = 0, f16 = 0, integer = 0;
  int special = 0;  ///< MUFU: exponentials, square roots, …
  int conversions = 0;
  int atomics = 0;
  int barriers = 0;  ///< of a block or a cluster
  int shuffles = 0;
  int branches = 0;
};

/// Reads what nvdisasm prints of a cubin, kernel by kernel in its order.
std::vector<SassStatistics> parse_sass(std::string_view listing);

/// Disassembles a cubin with `nvdisasm`, in a process that reads nothing else, and counts. Takes
/// about half a second. Errors: kEnvironment: it does not run, or takes more than 30 s.
Result<std::vector<SassStatistics>> count_sass(const std::string& nvdisasm,
                                               const std::string& image,
                                               const std::string& scratch_dir);

/// Path of nvdisasm: in a CUDA toolkit in its usual places, beside NVRTC's library, or in the
/// package triton of the Python environments given. "": none.
std::string find_nvdisasm(const std::string& nvrtc_path,
                          const std::vector<std::string>& python_environments);

}  // namespace quern::cuda
