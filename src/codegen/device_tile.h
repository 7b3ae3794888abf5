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

/// The kernel of a contraction group: a block computes a tile [mc, nc] of one batch, a thread a
/// tile [mr, nr] of it in registers, operands pass through local memory kc deep. Windows and
/// guards of the operands are evaluated as tiles are filled (implicit GEMM), pointwise statements
/// after the contraction as results are stored. Parameters, set by actions:
/// - `mr`, `nr` (unroll_and_jam), default 4 by 4; `mc`, `nc`, `kc` (pack_panels), default 64, 64,
///   16;
/// - `stages` (software_pipeline): 2: the next tile is on its way to registers while this one is
///   used; more: that many less one are being copied to local memory in the background, where
///   operands are memory as it is, else as 2;
/// - `tf32` (emulate_precision, set_precision): the warps of a block multiply on tensor cores, with
///   3 products in TF32 for each one, or 1; `mr` then counts fragments of 16 rows, `nr` of 8
///   columns, of a warp's tile; CUDA;
/// - `terms` (emulate_precision), default 8: summed on tensor cores, which truncate as they add,
///   before ordinary units add them to the results;
/// - `parts` (split_k): blocks that share the terms of a tile; their sums lie in scratch memory,
/// and
///   a second launch adds them up and computes what follows;
/// - `width` 4: operands are fetched, and results stored, in 16-byte vectors where they allow it
///   (vectorize);
/// - `resident`: blocks that shall fit a multiprocessor (launch_bounds), default as it comes.
/// Errors: kInput where parameters or statements do not fit.
Result<void> emit_device_tiles(const ir::Program& program, const Group& group, int number,
                               const ir::Sizes& sizes, DeviceLanguage language,
                               DeviceProgram* made);

/// Parameters to start a search from, the best guess first: the tiles that take a device with
/// `multiprocessors` least time if blocks ran one a multiprocessor, round after round. For groups
/// with `tf32` they are those of tensor cores.
std::vector<std::map<std::string, int64_t>> device_tile_params(const ir::Program& program,
                                                               const Group& group,
                                                               const ir::Sizes& sizes,
                                                               int multiprocessors);

}  // namespace quern
