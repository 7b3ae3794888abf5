// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "ir/program.h"
#include "schedule/schedule.h"

namespace quern {

/// Whether statement `statement` is a sum over a product of two operands, each read by affine
/// indices: what the contraction skeleton (packed GEMM, implicit-GEMM convolution) computes.
bool is_contraction(const ir::Program& program, int statement);

/// Values of a group's parameters to start a search from at `sizes`, the best guess first; empty
/// where the statement is no contraction. Parameters of a contraction group, all optional:
/// - `mr` rows by `nr` vectors: the register tile; `k_unroll`, `prefetch` (steps ahead, 0: none);
/// - `kc`, `mc`, `nc`: cache blocks; `parallel`: 0 cuts rows, 1 cuts columns, 2 whole products of
///   the batch, -1 chooses at run time; `phase`: 0 keeps divisibility conditions as they are.
std::vector<std::map<std::string, int64_t>> contraction_params(const ir::Program& program,
                                                               int statement,
                                                               const ir::Sizes& sizes);

/// Text of one C++ function that computes a contraction group. Calling convention of every group
/// function, whichever skeleton prints it (`codegen/group.h` has the helpers for all of it):
///
///     static void group_3(int64_t z_batch, int64_t z_dim,        // every free size, in order
///                         const float* t_x, const int64_t* t_l,  // group_reads, in order
///                         float* t_y)                            // group_writes, in order
///
/// - The body starts with the macro `QUERN_SIZES`, which `emit_cpu` defines: it declares every
/// size,
///   derived ones included, as `const int64_t s_<size>` (a compile-time constant under
///   `specialize = sizes`).
/// - Tensor `x` is `t_x`, dense and row-major; axis `i` is by convention `a_i`. No two tensors
/// alias.
/// - Statements in `group.inlined` are not stored: substitute them into their readers
///   (`inline_group`). Of the others exactly `group_writes` must be stored; the rest is the group's
///   own business (registers, `q_scratch(id, bytes)` with ids from `group_number * 64` to `+ 63`).
/// - The function runs outside any OpenMP region and may open its own.
Result<std::string> emit_contraction_group(const ir::Program& program, const Group& group,
                                           int group_number);

}  // namespace quern
