// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "codegen/device_tile_operands.h"
#include "codegen/lines.h"

/// How the warps of a block multiply its tiles on tensor cores (PTX: mma.sync m16n8k8, TF32), for
/// TileParams with `tf32`. Products with the small parts of operands are summed first, and sums of
/// `terms` terms are added to the results in f32: tensor cores truncate as they add.
namespace quern {

/// Declares where the thread is: `q_lane`, and `q_row`, `q_col`, the warp's first row and column.
std::string tensor_place(const TileParams& params);
/// Row of the block's tile that is the thread's `i`-th; its column that is the `j`-th. Lane l holds
/// rows l / 4 and l / 4 + 8 of a fragment, columns 2 (l % 4) and the next.
std::string tensor_row(const std::string& i);
std::string tensor_column(const std::string& j);

/// Adds the product of the tiles in `buffer` to `q_acc` [rows][columns]. `unrolls`: whether
/// compilers shall unroll its loops.
void print_tensor_multiply(const TileParams& params, const TilePanel& a, const TilePanel& b,
                           const std::string& buffer, bool unrolls, Lines* out);

}  // namespace quern
