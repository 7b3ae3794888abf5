// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "device/matrix_product.h"
#include "ir/program.h"

namespace quern {

/// The program at these sizes as one matrix product of a BLAS: a single statement that is one, of
/// f32 or f64 inputs, with any number of batch dimensions.
std::optional<MatrixProduct> library_product(const ir::Program& program, const ir::Sizes& sizes);

/// What a candidate that is the library's call says to readers, in place of a source.
std::string library_source(const ir::Program& program);

}  // namespace quern
