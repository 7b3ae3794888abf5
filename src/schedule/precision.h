// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "schedule/regroup.h"
#include "schedule/trace.h"

/// The actions that say how precisely a contraction multiplies. Each sets `tf32` of its group: how
/// many products in TF32, on tensor cores, stand for one of the task.
namespace quern {

/// One product: operands are rounded to TF32. Legal for convolutions of an `as_reference` task.
Reason set_precision(ScheduleState* state, int target, const Step& step);
/// Three products of operands split in two TF32 numbers: the accuracy of f32.
Reason emulate_precision(ScheduleState* state, int target, const Step& step);

}  // namespace quern
