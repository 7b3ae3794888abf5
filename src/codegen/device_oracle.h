// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ir/program.h"

namespace quern {

enum class OracleScalar {
  kBound,  ///< value, and rounding-error scale in units of the contract's unit roundoff
  kExact,  ///< value, and 0 where every f32 evaluation order gives exactly it
};

/// The referee's oracle for a device, in CUDA C++: the naive lowering over the scalars of
/// ir/scalar.h, which it carries along. A source with a launch plan (docs/plan_format.md) whose
/// outputs are, for each output `y` of the task in order, `value_y` and `scale_y`, both f64 of y's
/// shape; they mean what those of `emit_oracle` (codegen/reference.h) mean. Maps are recomputed by
/// their readers, so that of the intermediates only reductions and scans take memory, 16 bytes an
/// element. `sizes` choose how many threads share a reduction; the source is right for all sizes.
/// Compile with the option `-default-device` (NVRTC).
std::string emit_device_oracle(const ir::Program& program, const ir::Sizes& sizes,
                               OracleScalar scalar);

}  // namespace quern
