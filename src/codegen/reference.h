// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "ir/program.h"
#include "schedule/precision.h"

namespace quern {

/// The naive lowering in f32: each statement its own OpenMP-parallel loop nest, one output element
/// at a time. The baseline called `naive`; a complete candidate source.
std::string emit_naive(const ir::Program& program);

/// The same with sums and products accumulated in f64: a baseline that is right where one f32
/// accumulator of millions of terms is not.
std::string emit_naive_wide(const ir::Program& program);

/// Terms of the longest sum, product or running sum of a task.
int64_t longest_reduction(const ir::Program& program, const ir::Sizes& sizes);

/// The same in f64, with f64 in place of every f32 input and output: what a task means, at sizes
/// beyond the interpreter's. Not a candidate.
std::string emit_naive_double(const ir::Program& program);

/// The same lowering as the referee's oracle, over scalars that carry their error. Two entry
/// points, both taking the task's free sizes and inputs first, then `double* value, double* scale`
/// per output in order:
/// - `oracle_bound`: `scale` is the rounding-error scale of each element in units of the contract's
///   unit roundoff;
/// - `oracle_exact`: `scale` is 0 where every f32 evaluation order gives exactly `value`.
/// `contract`: what evaluations may round beside that (schedule/precision.h).
std::string emit_oracle(const ir::Program& program, Contract contract = Contract::kFp32);

/// The same lowering over `Shaken` (ir/shaken.h), for programs whose bound says nothing. One entry
/// point with the arguments of `oracle_bound`, `oracle_shaken`: `value` without rounding, and in
/// `scale` the root of the mean square of how far four evaluations that round at random lie from
/// it, in units of the unit roundoff; 0 for integer outputs.
std::string emit_shaken_oracle(const ir::Program& program, Contract contract = Contract::kFp32);

}  // namespace quern
