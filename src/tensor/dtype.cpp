// SPDX-License-Identifier: Apache-2.0
#include "tensor/dtype.h"

#include <array>
#include <cstring>
#include <limits>

namespace quern {
namespace {

struct DTypeRow {
  DType type;
  std::string_view name;
  std::string_view c_name;
  int64_t bytes;
};

constexpr std::array<DTypeRow, 4> kDTypes = {{
    {DType::kF32, "f32", "float", 4},
    {DType::kF64, "f64", "double", 8},
    {DType::kI32, "i32", "int", 4},
    {DType::kI64, "i64", "long", 8},
}};

const DTypeRow& row(DType type) { return kDTypes[static_cast<size_t>(type)]; }

template <class T>
double load_as(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<double>(value);
}

}  // namespace

std::string_view dtype_name(DType type) { return row(type).name; }
std::string_view dtype_c_name(DType type) { return row(type).c_name; }
int64_t dtype_bytes(DType type) { return row(type).bytes; }

double load_number(DType type, const void* at) {
  switch (type) {
    case DType::kF32:
      return load_as<float>(at);
    case DType::kF64:
      return load_as<double>(at);
    case DType::kI32:
      return load_as<int32_t>(at);
    case DType::kI64:
      return load_as<int64_t>(at);
  }
  return 0;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeRow& candidate : kDTypes) {
    if (candidate.name == name) return candidate.type;
  }
  return std::nullopt;
}

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t extent : shape) {
    if (__builtin_mul_overflow(count, extent, &count)) return std::numeric_limits<int64_t>::max();
  }
  return count;
}

}  // namespace quern
