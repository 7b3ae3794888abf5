// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "codegen/device_text.h"
#include "ir/program.h"
#include "schedule/schedule.h"

namespace quern {

/// Kernels of a nest group: pointwise chains, reductions, softmax, norms, scans, windows. Works for
/// every statement of the language at every size; `sizes` are those it is tuned for. Parameters,
/// set by actions (schedule/actions.cpp):
/// - `threads` of a block, a power of two, and `resident` blocks that shall fit a multiprocessor
///   (launch_bounds); default 256, and as it comes;
/// - `row_threads` that share a row and combine their reductions, a power of two
///   (cross_thread_reduction); without it each thread computes whole results;
/// - `slices`: threads of a block that share each result while neighbours take neighbouring
///   results, a power of two (cross_thread_reduction with `apart`), for groups of one loop nest;
/// - `width` 4: 16-byte vectors where alignment allows (vectorize);
/// - `coarsen`: vectors a thread computes of a grid-wide group (coarsen);
/// - `unroll` of loops over a row or a reduced axis (unroll);
/// - `keep` 1: what later passes over a row read again stays in registers (cache_read);
/// - `parts`: blocks that share one reduction, combined by a second launch (rfactor);
/// - `online` 1: maximum and sum of exponentials in one pass (online_rewrite);
/// - `nt.<tensor>` 1: stored past the caches (non_temporal_store).
/// Errors: kInput where the parameters do not fit the group.
Result<void> emit_device_rows(const ir::Program& program, const Group& group, int number,
                              const ir::Sizes& sizes, DeviceProgram* made);

/// The axis of results in parts; it stands outermost or innermost among theirs.
inline constexpr const char* kPartAxis = "0part";
enum class PartOrder { kOutermost, kInnermost };

/// A sum (or other reduction) whose parts are results of their own, in scratch memory.
struct PartialResults {
  ir::Program program;                 ///< the task's, with `tensor`
  ir::Statement tensor;                ///< the parts
  std::vector<ir::Statement> combine;  ///< a group's statements, the first of which reduces parts
};
PartialResults in_parts(const ir::Program& program, const std::vector<ir::Statement>& statements,
                        int64_t parts, PartOrder order);

/// The launch that combines the parts and computes what follows; `params` are its own.
Result<void> emit_combination(const PartialResults& partial,
                              const std::map<std::string, int64_t>& params, int number,
                              const ir::Sizes& sizes, const std::vector<std::string>& writes,
                              DeviceProgram* made);

}  // namespace quern
