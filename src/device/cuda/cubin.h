// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace quern::cuda {

/// What one kernel of a cubin takes of the machine, and what it is made of.
struct CubinKernel {
  struct Parameter {
    uint32_t offset = 0;  ///< in the parameter block
    uint32_t bytes = 0;
    bool operator==(const Parameter&) const = default;
  };

  std::string name;
  int registers = 0;              ///< of a thread
  int64_t shared_bytes = 0;       ///< static, of a block
  int64_t stack_bytes = 0;        ///< local memory of a thread
  int64_t spill_store_bytes = 0;  ///< of a thread, as the assembler counts them
  int64_t spill_load_bytes = 0;
  int barriers = 0;
  int max_threads = 0;  ///< of a block, from __launch_bounds__; 0: not said
  std::vector<Parameter> parameters;
  int64_t code_bytes = 0;
  /// Hash of the machine code and everything else that decides what a launch does, without names
  /// and addresses: kernels that differ in names and comments alone share it.
  std::string code_hash;
};

/// Reads the kernels of a cubin (an ELF file of NVIDIA's), in the order of their names. Errors:
/// kInput when it is none.
Result<std::vector<CubinKernel>> read_cubin(std::string_view image);

/// Adds what only the assembler's report (`--ptxas-options=-v`) tells: spills and barriers.
void add_assembler_report(std::string_view log, std::vector<CubinKernel>& kernels);

}  // namespace quern::cuda
