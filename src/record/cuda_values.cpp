// SPDX-License-Identifier: Apache-2.0
#include "record/cuda_values.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace quern {
namespace {

/// The nearest half-precision number, ties to even.
uint16_t half_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const float size = std::abs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (size == 0) return sign;
  if (size >= 65520) return sign | 0x7c00;
  // In units of the last place, 2^-24 at the least; the sum of exponent and mantissa carries over.
  int exponent = 0;
  (void)std::frexp(size, &exponent);
  const int place = std::max(exponent - 11, -24);
  const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(size, -place)));
  return static_cast<uint16_t>(sign + (static_cast<uint32_t>(place + 24) << 10) + units);
}

uint16_t bfloat_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/// The bytes of `value` in the low end of a word.
template <class T>
uint64_t bits_of(const T& value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

}  // namespace

uint64_t scalar_bits(const BoundArgument& argument) {
  switch (argument.type) {
    case PlanType::kF64:
      return bits_of(argument.real);
    case PlanType::kF32:
      return bits_of(static_cast<float>(argument.real));
    case PlanType::kF16:
      return half_of(static_cast<float>(argument.real));
    case PlanType::kBF16:
      return bfloat_of(static_cast<float>(argument.real));
    default:
      // Two's complement and little-endian: the low bytes are the narrower number.
      return static_cast<uint64_t>(argument.whole);
  }
}

int tensor_map_type(const BoundTensorMap& map) {
  if (map.tf32) return 11;
  switch (map.type) {
    case PlanType::kI8:
    case PlanType::kU8:
      return 0;
    case PlanType::kI16:
    case PlanType::kU16:
      return 1;
    case PlanType::kU32:
      return 2;
    case PlanType::kI32:
      return 3;
    case PlanType::kU64:
      return 4;
    case PlanType::kI64:
      return 5;
    case PlanType::kF16:
      return 6;
    case PlanType::kF32:
      return 7;
    case PlanType::kF64:
      return 8;
    case PlanType::kBF16:
      return 9;
  }
  return 0;
}

}  // namespace quern
