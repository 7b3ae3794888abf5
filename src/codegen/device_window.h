// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "codegen/device_text.h"
#include "ir/program.h"
#include "schedule/schedule.h"

namespace quern {

/// Pooling and depthwise convolution: a group that is one f32 reduction over a window of constant
/// extent, with pointwise statements behind it. A block computes a tile of the last two axes, for
/// which the part of the input that its windows cover passes through local memory, guards
/// evaluated once an element. A thread computes several results one below the other, so that rows
/// which windows share are read once. Parameters, set by actions:
/// - `window` 1 and `columns` of the tile, a power of two (cache_read with buffer=local);
/// - `threads` of a block, a power of two, at least `columns` (launch_bounds), default 256;
/// - `coarsen`: results one below the other (coarsen), default 1.
/// Errors: kInput where the group is none, or the tile's input does not fit local memory.
Result<void> emit_device_window(const ir::Program& program, const Group& group, int number,
                                DeviceProgram* made);

/// Parameters to start a search from, the best guess first: those of a device with
/// `multiprocessors` that fit the group's windows. Empty where it has none, or where windows one
/// below the other share nothing.
std::vector<std::map<std::string, int64_t>> device_window_params(const ir::Program& program,
                                                                 const Group& group,
                                                                 const ir::Sizes& sizes,
                                                                 int multiprocessors);

}  // namespace quern
