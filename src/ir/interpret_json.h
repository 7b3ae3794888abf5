// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ir/interpret.h"

namespace quern::ir {

/// Inputs drawn from their distributions by a generator of its own (splitmix64), rounded to the
/// element type. For cross-checks of meaning, not for timing.
Tensors<double> draw_inputs(const Program& program, const Sizes& sizes, uint64_t seed);

/// Draws inputs, interprets in double, and writes one JSON object:
/// `{"task": …, "sizes": {…}, "inputs": {name: tensor}, "outputs": {name: tensor}}` where a tensor
/// is `{"dtype": "f32", "shape": […], "data": […]}`; infinities are the strings "inf" and "-inf".
std::string interpret_json(const Program& program, const Sizes& sizes, uint64_t seed);

}  // namespace quern::ir
