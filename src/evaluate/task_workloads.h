// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "device/cpu/compiler.h"
#include "verify/workload.h"

namespace quern {

/// Everything one task at one size is judged on, with what the oracle on this machine demands.
struct TaskWorkloads {
  std::vector<Workload> hidden;  ///< the first for everyone, the second for those near a record
  Workload timed;
  double naive_compile_ms = 0;  ///< of the naive lowering
};

/// Builds the oracle, draws all workloads and computes what they demand. `timed`: without it, that
/// one stays empty. `contract`: what candidates may round on the target they are for. Errors: not
/// enough memory (says how much it takes), sizes that do not check, a lowering that does not
/// compile.
Result<TaskWorkloads> make_workloads(const ir::Program& program, const ir::Sizes& sizes,
                                     uint64_t seed, CpuCompiler& compiler, int threads,
                                     bool timed = true, Contract contract = Contract::kFp32);
/// The seed of the timed workload.
uint64_t timed_seed(uint64_t seed);

/// `QUERN_SIZE_<name>` and value, for every free size: what a specialised candidate is compiled
/// with.
std::vector<std::pair<std::string, int64_t>> size_macros(const ir::Program& program,
                                                         const ir::Sizes& sizes);

}  // namespace quern
