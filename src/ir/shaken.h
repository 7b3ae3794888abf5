// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "ir/scalar.h"

// This file is also pasted, behind ir/scalar.h, into generated reference code.

/// A scalar whose operations round at random: Monte Carlo arithmetic (D. S. Parker, "Monte Carlo
/// Arithmetic", UCLA CSD-970002, 1997). Several evaluations of a program with different seeds show
/// how far honest f32 evaluations of it lie apart, correlations and cancellations included, where
/// the first-order bound of `RunningError`, which adds up magnitudes, has grown beyond the result.
namespace quern {

struct Shaken {
  double v = 0;
  Shaken() = default;
  Shaken(double value) : v(value) {}
};

/// Which evaluation this is; 0 rounds nothing. Set between evaluations alone.
inline uint64_t shake_seed = 0;

/// `z` with an error of mean 0 and a deviation of `units` times the unit roundoff of f32 times
/// `magnitude`. It is a function of value and seed, as the rounding of a number is.
inline Shaken shaken(double z, double units, double magnitude) {
  if (shake_seed == 0 || !std::isfinite(z)) return z;
  uint64_t bits = 0;
  std::memcpy(&bits, &z, sizeof bits);
  bits = (bits ^ (shake_seed * 0xd1342543de82ef95u)) * 0x9e3779b97f4a7c15u;
  bits = (bits ^ (bits >> 32)) * 0xd6e8feb86659fd93u;
  constexpr double kUniform = 1.7320508075688772 * 0x1p-31;  // of deviation 1
  return z + static_cast<double>(static_cast<int32_t>(bits >> 32)) * kUniform * 0x1p-24 * units *
                 magnitude;
}
inline Shaken shaken(double z, double units = 1) { return shaken(z, units, std::fabs(z)); }

inline double to_double(const Shaken& x) { return x.v; }

inline Shaken operator-(const Shaken& x) { return -x.v; }
inline Shaken operator+(const Shaken& x, const Shaken& y) { return shaken(x.v + y.v); }
inline Shaken operator-(const Shaken& x, const Shaken& y) { return shaken(x.v - y.v); }
inline Shaken operator*(const Shaken& x, const Shaken& y) { return shaken(x.v * y.v); }
inline Shaken operator/(const Shaken& x, const Shaken& y) { return shaken(x.v / y.v); }

// As many units as `RunningError` allows each function.
inline Shaken op_abs(const Shaken& x) { return std::fabs(x.v); }
inline Shaken op_exp(const Shaken& x) { return shaken(std::exp(x.v), 2); }
inline Shaken op_log(const Shaken& x) { return shaken(std::log(x.v), 2); }
inline Shaken op_log1p(const Shaken& x) { return shaken(std::log1p(x.v), 2); }
inline Shaken op_expm1(const Shaken& x) { return shaken(std::expm1(x.v), 2); }
inline Shaken op_sqrt(const Shaken& x) { return shaken(std::sqrt(x.v), 2); }
inline Shaken op_rsqrt(const Shaken& x) { return shaken(1 / std::sqrt(x.v), 2); }
inline Shaken op_tanh(const Shaken& x) { return shaken(std::tanh(x.v), 4); }
inline Shaken op_erf(const Shaken& x) { return shaken(std::erf(x.v), 4); }
inline Shaken op_sin(const Shaken& x) { return shaken(std::sin(shaken(x.v).v), 2); }
inline Shaken op_cos(const Shaken& x) { return shaken(std::cos(shaken(x.v).v), 2); }
inline Shaken op_floor(const Shaken& x) { return std::floor(x.v); }
inline Shaken op_sign(const Shaken& x) { return op_sign(x.v); }
inline Shaken op_max(const Shaken& x, const Shaken& y) { return op_max(x.v, y.v); }
inline Shaken op_min(const Shaken& x, const Shaken& y) { return op_min(x.v, y.v); }
inline Shaken op_pow(const Shaken& x, const Shaken& y) { return shaken(std::pow(x.v, y.v), 4); }

/// An operand as TF32 may have it: off at random by 2^-11 (2.4 times the deviation that rounding to
/// nearest and truncation have), and towards zero by 3/4 of that (as truncation is on average).
inline double tf32_shaken(double x) {
  if (shake_seed == 0 || fits_tf32(x)) return x;
  return shaken(x * (1 - 3 * 0x1p-13), 0x1p13, std::fabs(x)).v;
}
inline Shaken tf32_product(const Shaken& x, const Shaken& y) {
  return Shaken(tf32_shaken(x.v)) * Shaken(tf32_shaken(y.v));
}

/// The partial sums of two orders are rounded: of this one, and of one that takes the terms at
/// random, whose partial sums grow like the root of the sum of squares.
template <>
struct SumAccumulator<Shaken> {
  double total = 0, partial_squares = 0, squares = 0, count = 0;
  void add(const Shaken& x) {
    total += x.v;
    partial_squares += total * total;
    squares += x.v * x.v;
    count += 1;
  }
  Shaken result() const {
    return shaken(total, 1, std::sqrt(partial_squares) + std::sqrt(count * squares));
  }
};

}  // namespace quern
