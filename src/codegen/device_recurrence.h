// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "codegen/device_text.h"
#include "ir/recurrence.h"

namespace quern {

/// The launch of a recurrence: one kernel goes through all steps. The points of axes that every
/// statement carries through unchanged depend on nothing but themselves: each has a block of its
/// own, whose threads share the other points and meet after each statement of a step. Where there
/// is no such axis one block does all. With `sizes` it is tuned for them, and right for all:
/// neighbouring threads then share the terms of long sums over what lies side by side in memory.
DeviceKernel recurrence_kernel(const ir::Program& program, const ir::Recurrence& recurrence,
                               int number, const ir::Sizes* sizes = nullptr);

/// Axes that no statement of a recurrence mixes: each has them, and reads others at them alone.
std::vector<ir::Axis> independent_axes(const ir::Program& program,
                                       const ir::Recurrence& recurrence);

/// Tensors that a recurrence reads and does not make, each once.
std::vector<std::string> recurrence_inputs(const ir::Program& program,
                                           const ir::Recurrence& recurrence);

/// The axes of one of its statements but that of the steps and those of `blocks`.
std::vector<ir::Axis> block_points(const ir::Recurrence& recurrence, const ir::Statement& statement,
                                   const std::vector<ir::Axis>& blocks);

}  // namespace quern
