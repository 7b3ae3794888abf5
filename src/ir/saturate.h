// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>

/// Arithmetic on extents and bounds that sticks at the ends of int64 instead of overflowing.
namespace quern::ir {

constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();
constexpr int64_t kInt64Min = std::numeric_limits<int64_t>::min();

inline int64_t saturating_add(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return a > 0 ? kInt64Max : kInt64Min;
}

inline int64_t saturating_mul(int64_t a, int64_t b) {
  int64_t product = 0;
  if (!__builtin_mul_overflow(a, b, &product)) return product;
  return (a > 0) == (b > 0) ? kInt64Max : kInt64Min;
}

inline int64_t saturating_negate(int64_t a) { return a == kInt64Min ? kInt64Max : -a; }

inline int64_t saturating_sub(int64_t a, int64_t b) {
  int64_t difference = 0;
  if (!__builtin_sub_overflow(a, b, &difference)) return difference;
  return a >= 0 ? kInt64Max : kInt64Min;
}

inline bool saturated(int64_t a) { return a == kInt64Max || a == kInt64Min; }

}  // namespace quern::ir
