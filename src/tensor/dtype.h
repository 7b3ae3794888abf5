// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace quern {

/// Element types a task may name. Floating-point outputs are compared within a rounding bound,
/// integers bit for bit.
enum class DType { kF32, kF64, kI32, kI64 };

/// The spelling used in task files, JSON and SQL: "f32", "f64", "i32", "i64".
std::string_view dtype_name(DType type);
std::optional<DType> dtype_from_name(std::string_view name);
/// The type in generated C++: "float", "double", "int", "long".
std::string_view dtype_c_name(DType type);
int64_t dtype_bytes(DType type);
/// The element that begins at `at`, which need not be aligned.
double load_number(DType type, const void* at);
inline bool is_float(DType type) { return type == DType::kF32 || type == DType::kF64; }

/// Extents, outermost first; tensors are dense and row-major. An empty shape is a scalar.
using Shape = std::vector<int64_t>;

/// Product of the extents (1 for a scalar). Saturates at INT64_MAX instead of overflowing.
int64_t element_count(const Shape& shape);

}  // namespace quern
