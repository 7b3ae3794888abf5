// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ir/program.h"
#include "schedule/precision.h"
#include "verify/compare.h"

/// Where the bound on rounding says nothing. `RunningError` adds up magnitudes, so that its scale
/// grows with every layer of a network by the root of the layer's width, which true errors do not:
/// beyond some depth it exceeds the results. The scale is then taken from evaluations that round at
/// random (ir/shaken.h). Where convolutions round their operands to TF32, errors are larger by 2^13
/// from the start, and a second sum is enough.
namespace quern {

/// The longest chain of sums in which each depends on the one before it; a recurrence is as deep as
/// a deep network.
int chain_of_sums(const ir::Program& program);

/// Whether a program is deep enough for its bound to outgrow its results, and all its numbers are
/// f32 (others are never judged by samples).
bool may_outgrow(const ir::Program& program, Contract contract = Contract::kFp32);

/// Whether what the bound accepts of a float output, on average, exceeds 1/64 of how far its
/// elements spread: wrong results are then hard to tell from rounded ones.
bool outgrown(const ExpectedOutput& output);

/// Puts in place of each scale the deviation that random rounding showed: of this element or of all
/// of the output, whichever is greater, but never more than the bound. `sampled.scale` holds
/// deviations in units of the unit roundoff. Returns their share of the bound: roots of mean
/// squares, at most 1.
double take_samples(const ExpectedOutput& sampled, ExpectedOutput& output);

}  // namespace quern
