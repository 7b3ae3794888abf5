// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "schedule/regroup.h"
#include "schedule/trace.h"

/// Precision contracts, and the actions that say how precisely a contraction multiplies. Each sets
/// `tf32` of its group: how many products in TF32, on tensor cores, stand for one of the task.
namespace quern {

/// What an evaluation may round.
enum class Contract {
  kFp32,              ///< every operation as 32 bits do
  kTf32Convolutions,  ///< the operands of convolutions' products to TF32, else the same
};

/// The contract of a task on a target: `as_reference` allows TF32 on CUDA alone.
Contract contract_on(const ir::Program& program, ScheduleTarget target);

/// Whether a statement sums products of two operands. The product stands at the head of the body,
/// or of a selection there.
bool sums_products(const ir::Statement& statement);
/// Whether a statement is a convolution: an f32 sum of products, one operand of which is read along
/// windows whose place the other does not depend on.
bool convolves(const ir::Statement& statement);
/// Whether the contract lets that statement of the program round its operands.
bool rounds_operands(const ir::Program& program, const std::string& statement, Contract contract);

/// One product: operands are rounded to TF32. Legal for convolutions of an `as_reference` task.
Reason set_precision(ScheduleState* state, int target, const Step& step);
/// Three products of operands split in two TF32 numbers: the accuracy of f32.
Reason emulate_precision(ScheduleState* state, int target, const Step& step);

}  // namespace quern
