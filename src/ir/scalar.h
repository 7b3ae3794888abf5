// SPDX-License-Identifier: Apache-2.0
#pragma once

// This file is also pasted, as it is, into generated reference code: it stands alone and is plain
// C++17.

#include <cmath>
#include <cstdint>
#include <type_traits>

/// The scalars a tensor program is interpreted over, and one spelling of every scalar operation
/// for all of them: `op_exp(x)`, `op_max(a, b)`, …, accumulators, and `op_select`. `T` is float,
/// double, long double, or one of
/// - `RunningError`: the value in double, and how much rounding error an evaluation in a lower
///   precision may gather, in units of that precision's unit roundoff;
/// - `Exact`: the value, and whether every evaluation in f32, in any order, gives it exactly.
///
/// Sums of products whose operands may be rounded to TF32 (schedule/precision.h) are made of
/// `tf32_product(x, y)` and `ConvolutionAccumulator`.
namespace quern {

/// `v`: the value. `e`: the rounding-error scale of v: an evaluation with unit roundoff u is
/// expected within a small multiple of e * u. Propagated to first order.
struct RunningError {
  double v = 0;
  double e = 0;
  RunningError() = default;
  RunningError(double value) : v(value) {}
  RunningError(double value, double error) : v(value), e(error) {}
};

/// `v` is a multiple of 2^g, and, where `ok`, exact under every order of f32 operations.
struct Exact {
  double v = 0;
  int g = kZeroGrain;
  bool ok = true;
  static constexpr int kZeroGrain = 1000;  ///< zero is a multiple of every power of two
  Exact() = default;
  Exact(double value) : v(value), g(grain(value)) { ok = representable(v, g); }
  Exact(double value, int exponent, bool exact) : v(value), g(exponent), ok(exact) {}

  /// The exponent of the lowest set bit.
  static int grain(double value) {
    if (value == 0 || !std::isfinite(value)) return kZeroGrain;
    int exponent = 0;
    double fraction = std::frexp(value, &exponent);
    auto bits = static_cast<int64_t>(std::ldexp(std::fabs(fraction), 53));
    return exponent - 53 + __builtin_ctzll(static_cast<unsigned long long>(bits));
  }
  /// Whether a multiple of 2^g of that magnitude is an f32 together with all smaller multiples.
  static bool representable(double magnitude, int g) {
    if (magnitude == 0 || std::isinf(magnitude)) return true;
    if (g < -149 || !(std::fabs(magnitude) < 0x1p128)) return false;
    return std::fabs(magnitude) <= std::ldexp(1.0, g > 1000 ? 1000 : 24 + g);
  }
};

/// The outcome of a comparison of `Exact` values: trusted only where both were.
struct ExactTruth {
  bool v = false;
  bool ok = true;
  ExactTruth(bool value, bool exact = true) : v(value), ok(exact) {}
  explicit operator bool() const { return v; }
};

// ---- plain values of every scalar

inline double to_double(float x) { return x; }
inline double to_double(double x) { return x; }
inline double to_double(long double x) { return static_cast<double>(x); }
inline double to_double(const RunningError& x) { return x.v; }
inline double to_double(const Exact& x) { return x.v; }

// ---- arithmetic

/// One rounding of z, in units; an infinity is not rounded.
inline double rounding(double z) { return std::isfinite(z) ? std::fabs(z) : 0; }

inline RunningError operator-(const RunningError& x) { return {-x.v, x.e}; }
inline RunningError operator+(const RunningError& x, const RunningError& y) {
  double z = x.v + y.v;
  return {z, x.e + y.e + rounding(z)};
}
inline RunningError operator-(const RunningError& x, const RunningError& y) { return x + -y; }
inline RunningError operator*(const RunningError& x, const RunningError& y) {
  double z = x.v * y.v;
  return {z, std::fabs(x.v) * y.e + std::fabs(y.v) * x.e + rounding(z)};
}
inline RunningError operator/(const RunningError& x, const RunningError& y) {
  double z = x.v / y.v;
  return {z, (x.e + std::fabs(z) * y.e) / std::fabs(y.v) + rounding(z)};
}

inline Exact operator-(const Exact& x) { return {-x.v, x.g, x.ok}; }
inline Exact operator+(const Exact& x, const Exact& y) {
  int g = x.g < y.g ? x.g : y.g;
  bool finite = std::isfinite(x.v) && std::isfinite(y.v);
  return {x.v + y.v, g,
          x.ok && y.ok && finite && Exact::representable(std::fabs(x.v) + std::fabs(y.v), g)};
}
inline Exact operator-(const Exact& x, const Exact& y) { return x + -y; }
inline Exact operator*(const Exact& x, const Exact& y) {
  if ((x.v == 0 && std::isfinite(y.v)) || (y.v == 0 && std::isfinite(x.v))) {
    return {0, Exact::kZeroGrain, x.ok && y.ok};
  }
  double z = x.v * y.v;
  int g = x.g + y.g;
  bool finite = std::isfinite(x.v) && std::isfinite(y.v);
  return {z, g, x.ok && y.ok && finite && Exact::representable(z, g)};
}
/// Exact where the divisor is a power of two: other quotients may be computed by a rounded
/// reciprocal.
inline Exact operator/(const Exact& x, const Exact& y) {
  if (x.v == 0 && y.v != 0 && std::isfinite(y.v)) return {0, Exact::kZeroGrain, x.ok && y.ok};
  int exponent = 0;
  bool power = y.v != 0 && std::isfinite(y.v) && std::fabs(std::frexp(y.v, &exponent)) == 0.5;
  int g = x.g - (exponent - 1);
  double z = x.v / y.v;
  return {z, g, x.ok && y.ok && power && std::isfinite(x.v) && Exact::representable(z, g)};
}

// ---- products of operands that may be rounded to TF32

/// Whether TF32 has the number: 11 significant bits. Its exponents are those of f32.
inline bool fits_tf32(double value) {
  int exponent = 0;
  const double bits = std::ldexp(std::frexp(value, &exponent), 11);
  return bits == std::floor(bits);
}

/// A product, and how many of its operands (0 to 2) lose something when rounded to TF32.
struct Tf32Term {
  RunningError product;
  double rounded = 0;
  Tf32Term(const RunningError& value) : product(value) {}
  Tf32Term(const RunningError& value, double operands) : product(value), rounded(operands) {}
};
inline Tf32Term operator-(const Tf32Term& x) { return {-x.product, x.rounded}; }
/// A number that TF32 has is kept, where every evaluation arrives at just that number.
inline Tf32Term tf32_product(const RunningError& x, const RunningError& y) {
  const auto loses = [](const RunningError& z) { return z.e == 0 && fits_tf32(z.v) ? 0 : 1; };
  return {x * y, static_cast<double>(loses(x) + loses(y))};
}
inline Exact tf32_product(const Exact& x, const Exact& y) {
  Exact z = x * y;
  z.ok = z.ok && fits_tf32(x.v) && fits_tf32(y.v);
  return z;
}

// ---- comparisons and conditions

template <class T>
bool op_lt(const T& x, const T& y) {
  return to_double(x) < to_double(y);
}
template <class T>
bool op_le(const T& x, const T& y) {
  return to_double(x) <= to_double(y);
}
template <class T>
bool op_eq(const T& x, const T& y) {
  return to_double(x) == to_double(y);
}
template <class T>
bool op_ne(const T& x, const T& y) {
  return to_double(x) != to_double(y);
}
inline bool op_lt(long double x, long double y) { return x < y; }
inline bool op_le(long double x, long double y) { return x <= y; }
inline bool op_eq(long double x, long double y) { return x == y; }
inline bool op_ne(long double x, long double y) { return x != y; }
inline ExactTruth op_lt(const Exact& x, const Exact& y) { return {x.v < y.v, x.ok && y.ok}; }
inline ExactTruth op_le(const Exact& x, const Exact& y) { return {x.v <= y.v, x.ok && y.ok}; }
inline ExactTruth op_eq(const Exact& x, const Exact& y) { return {x.v == y.v, x.ok && y.ok}; }
inline ExactTruth op_ne(const Exact& x, const Exact& y) { return {x.v != y.v, x.ok && y.ok}; }
template <class T>
auto op_gt(const T& x, const T& y) {
  return op_lt(y, x);
}
template <class T>
auto op_ge(const T& x, const T& y) {
  return op_le(y, x);
}

inline bool op_not(bool a) { return !a; }
inline ExactTruth op_not(const ExactTruth& a) { return {!a.v, a.ok}; }

/// Marks a result that was chosen by an untrusted comparison.
template <class T>
T chosen_by(bool, const T& x) {
  return x;
}
inline Exact chosen_by(const ExactTruth& by, const Exact& x) { return {x.v, x.g, x.ok && by.ok}; }
inline bool chosen_by(bool, bool x) { return x; }
inline ExactTruth chosen_by(const ExactTruth& by, const ExactTruth& x) {
  return {x.v, x.ok && by.ok};
}

/// `op_select(condition, [&] { return a; }, [&] { return b; })`: only the chosen side is evaluated.
template <class C, class A, class B>
auto op_select(const C& condition, const A& then, const B& otherwise) {
  return condition ? chosen_by(condition, then()) : chosen_by(condition, otherwise());
}
/// Short-circuit `and` and `or`; the second operand is a function, as in `op_select`.
template <class A, class B>
auto op_and(const A& a, const B& b) {
  using Right = decltype(b());
  if constexpr (std::is_same_v<A, bool> && std::is_same_v<Right, bool>) {
    return a && b();
  } else {
    ExactTruth left(a);
    return left.v ? chosen_by(left, ExactTruth(b())) : left;
  }
}
template <class A, class B>
auto op_or(const A& a, const B& b) {
  using Right = decltype(b());
  if constexpr (std::is_same_v<A, bool> && std::is_same_v<Right, bool>) {
    return a || b();
  } else {
    ExactTruth left(a);
    return left.v ? left : chosen_by(left, ExactTruth(b()));
  }
}

// ---- functions of plain numbers

template <class T>
T op_abs(const T& x) {
  return std::fabs(x);
}
template <class T>
T op_exp(const T& x) {
  return std::exp(x);
}
template <class T>
T op_log(const T& x) {
  return std::log(x);
}
template <class T>
T op_log1p(const T& x) {
  return std::log1p(x);
}
template <class T>
T op_expm1(const T& x) {
  return std::expm1(x);
}
template <class T>
T op_sqrt(const T& x) {
  return std::sqrt(x);
}
template <class T>
T op_rsqrt(const T& x) {
  return T(1) / std::sqrt(x);
}
template <class T>
T op_tanh(const T& x) {
  return std::tanh(x);
}
template <class T>
T op_erf(const T& x) {
  return std::erf(x);
}
template <class T>
T op_sin(const T& x) {
  return std::sin(x);
}
template <class T>
T op_cos(const T& x) {
  return std::cos(x);
}
template <class T>
T op_floor(const T& x) {
  return std::floor(x);
}
template <class T>
T op_sign(const T& x) {
  return x > 0 ? T(1) : x < 0 ? T(-1) : T(0);
}
template <class T>
T op_max(const T& x, const T& y) {
  return x < y ? y : x;
}
template <class T>
T op_min(const T& x, const T& y) {
  return y < x ? y : x;
}
template <class T>
T op_pow(const T& x, const T& y) {
  return std::pow(x, y);
}

// ---- functions of RunningError: |f'(x)| e + c |f(x)|

/// A slope of 0 or infinity times an error of 0 is no error at all.
inline RunningError propagated(double z, double slope, double error, double ulps) {
  double carried = error == 0 || slope == 0 ? 0 : std::fabs(slope) * error;
  return {z, carried + ulps * rounding(z)};
}
/// How far off x is accepted to be, where slopes change within that: 0 where they hardly do.
inline double reach(const RunningError& x) {
  double off = 4 * 0x1p-24 * x.e;
  return off > 0x1p-7 ? off : 0;
}
/// x as near to 0 as it may be: where a function that saturates is steepest.
inline double steepest(const RunningError& x) {
  double least = std::fabs(x.v) - reach(x);
  return least > 0 ? least : 0;
}
inline RunningError op_abs(const RunningError& x) { return {std::fabs(x.v), x.e}; }
inline RunningError op_exp(const RunningError& x) {
  double z = std::exp(x.v), off = reach(x);
  return propagated(z, off > 0 ? std::exp(x.v + off) : z, x.e, 2);
}
inline RunningError op_log(const RunningError& x) {
  return propagated(std::log(x.v), 1 / x.v, x.e, 2);
}
inline RunningError op_log1p(const RunningError& x) {
  return propagated(std::log1p(x.v), 1 / (1 + x.v), x.e, 2);
}
inline RunningError op_expm1(const RunningError& x) {
  return propagated(std::expm1(x.v), std::exp(x.v + reach(x)), x.e, 2);
}
inline RunningError op_sqrt(const RunningError& x) {
  double z = std::sqrt(x.v);
  return propagated(z, 0.5 / z, x.e, 2);
}
inline RunningError op_rsqrt(const RunningError& x) {
  double z = 1 / std::sqrt(x.v);
  return propagated(z, 0.5 * z / x.v, x.e, 2);
}
inline RunningError op_tanh(const RunningError& x) {
  double z = std::tanh(x.v), steep = reach(x) > 0 ? std::tanh(steepest(x)) : z;
  return propagated(z, 1 - steep * steep, x.e, 4);
}
inline RunningError op_erf(const RunningError& x) {
  constexpr double kTwoOverRootPi = 1.1283791670955126;
  double steep = steepest(x);
  return propagated(std::erf(x.v), kTwoOverRootPi * std::exp(-steep * steep), x.e, 4);
}
/// Argument reduction costs an absolute error that grows with the argument.
inline RunningError op_sin(const RunningError& x) {
  return propagated(std::sin(x.v), std::cos(x.v), x.e + std::fabs(x.v), 2);
}
inline RunningError op_cos(const RunningError& x) {
  return propagated(std::cos(x.v), std::sin(x.v), x.e + std::fabs(x.v), 2);
}
/// A step function jumps by `jump` where the error of x reaches the step at distance `gap`.
inline RunningError stepped(double z, double gap, double error, double jump) {
  constexpr double kUnits = 0x1p24;
  return {z, error > 0 && gap * kUnits <= 4 * error ? jump * kUnits : 0};
}
inline RunningError op_floor(const RunningError& x) {
  return stepped(std::floor(x.v), std::fabs(x.v - std::nearbyint(x.v)), x.e, 1);
}
inline RunningError op_sign(const RunningError& x) {
  return stepped(op_sign(x.v), std::fabs(x.v), x.e, 2);
}
inline RunningError op_max(const RunningError& x, const RunningError& y) {
  return {x.v < y.v ? y.v : x.v, x.e < y.e ? y.e : x.e};
}
inline RunningError op_min(const RunningError& x, const RunningError& y) {
  return {y.v < x.v ? y.v : x.v, x.e < y.e ? y.e : x.e};
}
inline RunningError op_pow(const RunningError& x, const RunningError& y) {
  double z = std::pow(x.v, y.v);
  double by_base = x.e == 0 ? 0 : std::fabs(y.v * std::pow(x.v, y.v - 1)) * x.e;
  double by_power = y.e == 0 || x.v <= 0 ? 0 : std::fabs(z * std::log(x.v)) * y.e;
  return {z, by_base + by_power + 4 * rounding(z)};
}

// ---- functions of Exact: only the points where every sane implementation is exact

inline Exact exact_if(const Exact& x, double at, double result, double otherwise) {
  if (x.ok && x.v == at) return Exact(result);
  return {otherwise, 0, false};
}
inline Exact op_abs(const Exact& x) { return {std::fabs(x.v), x.g, x.ok}; }
inline Exact op_exp(const Exact& x) {
  if (x.ok && x.v == -INFINITY) return Exact(0.0);
  return exact_if(x, 0, 1, std::exp(x.v));
}
inline Exact op_log(const Exact& x) { return exact_if(x, 1, 0, std::log(x.v)); }
inline Exact op_log1p(const Exact& x) { return exact_if(x, 0, 0, std::log1p(x.v)); }
inline Exact op_expm1(const Exact& x) { return exact_if(x, 0, 0, std::expm1(x.v)); }
inline Exact op_sqrt(const Exact& x) {
  return x.v == 1 ? exact_if(x, 1, 1, 1) : exact_if(x, 0, 0, std::sqrt(x.v));
}
inline Exact op_rsqrt(const Exact& x) { return {1 / std::sqrt(x.v), 0, false}; }
inline Exact op_tanh(const Exact& x) { return exact_if(x, 0, 0, std::tanh(x.v)); }
inline Exact op_erf(const Exact& x) { return exact_if(x, 0, 0, std::erf(x.v)); }
inline Exact op_sin(const Exact& x) { return exact_if(x, 0, 0, std::sin(x.v)); }
inline Exact op_cos(const Exact& x) { return exact_if(x, 0, 1, std::cos(x.v)); }
inline Exact op_floor(const Exact& x) {
  double z = std::floor(x.v);
  return {z, Exact::grain(z), x.ok};
}
inline Exact op_sign(const Exact& x) { return {op_sign(x.v), 0, x.ok}; }
inline Exact op_max(const Exact& x, const Exact& y) {
  const Exact& z = x.v < y.v ? y : x;
  return {z.v, z.g, x.ok && y.ok};
}
inline Exact op_min(const Exact& x, const Exact& y) {
  const Exact& z = y.v < x.v ? y : x;
  return {z.v, z.g, x.ok && y.ok};
}
inline Exact op_pow(const Exact& x, const Exact& y) {
  if (y.ok && y.v == 2) return x * x;
  if (y.ok && y.v == 1) return x;
  return {std::pow(x.v, y.v), 0, false};
}

// ---- accumulators: `add` each term, then `result`; for a scan, `result` after (or before) each

template <class T>
struct SumAccumulator {
  T total = T(0);
  void add(const T& x) { total = total + x; }
  T result() const { return total; }
};
/// Errors of the terms add up; a sum of n roundings of random sign grows like sqrt(n).
template <>
struct SumAccumulator<RunningError> {
  double total = 0, errors = 0, magnitudes = 0, count = 0;
  void add(const RunningError& x) {
    total += x.v;
    errors += x.e;
    magnitudes += std::fabs(x.v);
    count += 1;
  }
  RunningError result() const { return {total, errors + std::sqrt(count) * magnitudes}; }
};
/// Every partial sum, in any order, is a multiple of the finest grain and at most the sum of
/// magnitudes.
template <>
struct SumAccumulator<Exact> {
  double total = 0, magnitudes = 0;
  int g = Exact::kZeroGrain;
  bool ok = true;
  void add(const Exact& x) {
    total += x.v;
    magnitudes += std::fabs(x.v);
    if (x.g < g) g = x.g;
    ok = ok && x.ok && std::isfinite(x.v);
  }
  Exact result() const { return {total, g, ok && Exact::representable(magnitudes, g)}; }
};

template <class T>
struct ConvolutionAccumulator : SumAccumulator<T> {};
/// What rounding operands to TF32 adds to the error of a sum, in units of 2^-24. Each operand is
/// off by a part of 2^-11 of itself to nearest, of 2^-10 and always towards zero by truncation,
/// as tensor cores do with what they are given in f32. What is random in it grows like the root of
/// the sum of squares: 0.42 units of 2^-11 of deviation an operand either way, so that four times
/// `kRandom` is 6.8 deviations of both. What is not moves the sum towards zero, by 2^-10 of itself
/// at most (0.72 of that, where the operands' leading digits are spread), and four times `kBias`
/// is 1.25 of it.
template <>
struct ConvolutionAccumulator<RunningError> {
  static constexpr double kRandom = 0x1p13, kBias = 5 * 0x1p10;
  SumAccumulator<RunningError> sum;
  double squares = 0, rounded = 0;  ///< of terms, by the share of their operands that are rounded
  void add(const Tf32Term& x) {
    const double share = x.rounded / 2;
    sum.add(x.product);
    squares += share * x.product.v * x.product.v;
    rounded += share * x.product.v;
  }
  RunningError result() const {
    const RunningError exact = sum.result();
    return {exact.v, exact.e + kRandom * std::sqrt(squares) + kBias * std::fabs(rounded)};
  }
};

template <class T>
struct ProdAccumulator {
  T total = T(1);
  void add(const T& x) { total = total * x; }
  T result() const { return total; }
};
/// A product of n factors: relative errors add up, and n roundings grow like sqrt(n).
template <>
struct ProdAccumulator<RunningError> {
  double total = 1, relative = 0, count = 0;
  void add(const RunningError& x) {
    total *= x.v;
    if (x.e != 0) relative += x.e / std::fabs(x.v);
    count += 1;
  }
  RunningError result() const {
    return {total, total == 0 ? 0 : std::fabs(total) * (relative + std::sqrt(count))};
  }
};
/// In any order a partial product divides the product of the odd parts, so the odd part of the
/// whole bounds them all; factors below 1 could still underflow, which `representable` refuses.
template <>
struct ProdAccumulator<Exact> {
  Exact total = Exact(1.0);
  double largest = 1, smallest = 1;
  void add(const Exact& x) {
    total = total * x;
    if (std::fabs(x.v) > 1) largest *= std::fabs(x.v);
    if (x.v != 0 && std::fabs(x.v) < 1) smallest *= std::fabs(x.v);
  }
  Exact result() const {
    return {total.v, total.g, total.ok && largest < 0x1p126 && smallest > 0x1p-126};
  }
};

template <class T>
struct MaxAccumulator {
  T total = T(-INFINITY);
  void add(const T& x) { total = op_max(total, x); }
  T result() const { return total; }
};
template <class T>
struct MinAccumulator {
  T total = T(INFINITY);
  void add(const T& x) { total = op_min(total, x); }
  T result() const { return total; }
};

/// First position of the greatest (`kSign` 1) or least (-1) term. `sure`: every term was exact.
template <class T, int kSign>
struct PositionAccumulator {
  double best = 0;
  int64_t at = -1, position = 0;
  bool sure = true;
  static bool trusted(const Exact& x) { return x.ok; }
  template <class U>
  static bool trusted(const U&) {
    return true;
  }
  void add(const T& x) {
    double value = kSign * to_double(x);
    sure = sure && trusted(x);
    if (at < 0 || value > best) {
      best = value;
      at = position;
    }
    ++position;
  }
  int64_t result() const { return at < 0 ? 0 : at; }
};
template <class T>
using ArgMaxAccumulator = PositionAccumulator<T, 1>;
template <class T>
using ArgMinAccumulator = PositionAccumulator<T, -1>;

/// The result of an arg-form as a scalar again.
template <class T, int kSign>
T position_value(const PositionAccumulator<T, kSign>& accumulator) {
  return T(static_cast<double>(accumulator.result()));
}
template <int kSign>
Exact position_value(const PositionAccumulator<Exact, kSign>& accumulator) {
  auto position = static_cast<double>(accumulator.result());
  return {position, Exact::grain(position), accumulator.sure};
}

}  // namespace quern
