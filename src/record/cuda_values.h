// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "record/bound_plan.h"

/// Values of a bound plan as CUDA's driver and kernels take them.
namespace quern {

/// A `kScalar` argument as its parameter holds it, in the low bytes; numbers are rounded to their
/// type, ties to even.
uint64_t scalar_bits(const BoundArgument& argument);

/// CUtensorMapDataType of a tensor map.
int tensor_map_type(const BoundTensorMap& map);

}  // namespace quern
