// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ir/program.h"

namespace quern {

/// The naive lowering in f32: each statement its own OpenMP-parallel loop nest, one output element
/// at a time. The baseline called `naive`; a complete candidate source.
std::string emit_naive(const ir::Program& program);

/// The same lowering as the referee's oracle, over three scalars. Entry points, all taking the
/// task's free sizes and inputs first, then per output in order:
/// - `oracle_value`: `double* value` — f64 throughout;
/// - `oracle_bound`: `double* value, double* scale` — `scale` is the rounding-error scale of each
///   element in units of the contract's unit roundoff (research 07 section 6);
/// - `oracle_exact`: `double* value, unsigned char* exact` — `exact` is 1 where every f32
///   evaluation order gives exactly `value`.
std::string emit_oracle(const ir::Program& program);

}  // namespace quern
