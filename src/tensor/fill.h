// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace quern {

/// How the elements of a tensor are drawn. Element `i` depends on (seed, i) alone, so a fill is
/// the same whatever the number of threads, and any element can be drawn by itself.
enum class FillKind {
  kUniform,      ///< [a, b)
  kNormal,       ///< mean a, deviation b
  kIntegers,     ///< whole numbers in [a, b]
  kConstant,     ///< a
  kWide,         ///< random sign, magnitude log-uniform in [a, b]
  kSparse,       ///< normal, but 15 of 16 elements are 0
  kCancelling,   ///< normal; every odd element is minus its predecessor, up to 1 part in 1000
  kSparseSigns,  ///< -1, 0 or 1, non-zero with probability a
  kOddIntegers,  ///< odd whole numbers in [-b, b]
};

struct FillSpec {
  FillKind kind = FillKind::kNormal;
  double a = 0;
  double b = 1;
};

/// Draws every element of a buffer holding `type`; integer types take the drawn value rounded down.
void fill(std::span<std::byte> buffer, DType type, const FillSpec& spec, uint64_t seed);

/// The value of element `index`, before conversion to a dtype.
double draw(const FillSpec& spec, uint64_t seed, uint64_t index);

/// Which elements of a tensor an alteration draws anew: one in each block of 64, chosen by
/// `places`, and none among the first and the last 64. There are `altered_blocks` of them.
inline constexpr int64_t kAlterOneIn = 64;
int64_t altered_blocks(int64_t count);
int64_t altered_place(int64_t count, uint64_t places, int64_t block);

/// A well-mixed 64-bit word for (seed, stream): how seeds are derived from seeds.
uint64_t mix_seed(uint64_t seed, uint64_t stream);

}  // namespace quern
