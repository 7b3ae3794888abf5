// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

/// Scalars a tensor program can be evaluated over, beside the floating-point types: one program
/// gives the oracle, its error bound and its exactness. Every operation of `ir::Op` is a function
/// `q_<name>` or an operator here, for all of them. This file is also carried, as text, by
/// generated oracles, so it includes standard headers only.
namespace quern {

/// A value with the scale of the rounding error that an honest f32 evaluation may have made, in
/// units of the unit roundoff: |computed - v| stays below a small factor times u * e. First-order
/// propagation, plus one rounding per operation (2 for the elementary functions, 4 for the harder
/// ones). Source: running-error analysis (Higham, Accuracy and Stability, section 3.3), with the
/// probabilistic growth of sums (Higham and Mary 2019): sqrt(n), not n.
struct RunningError {
  double v = 0;
  double e = 0;
  RunningError() = default;
  explicit RunningError(double value) : v(value) {}
  RunningError(double value, double error) : v(value), e(error) {}
};

/// A value known to be a multiple of 2^g; `ok` says that every f32 evaluation order of the
/// operations so far gives exactly `v`.
struct Exact {
  double v = 0;
  int g = kAny;
  bool ok = true;
  static constexpr int kAny = 2000;  ///< granule of zero: a multiple of every power of two
  Exact() = default;
  explicit Exact(double value) : v(value), g(granule(value)), ok(fits(value, g)) {}
  Exact(double value, int granule_exponent, bool is_ok)
      : v(value), g(granule_exponent), ok(is_ok && fits(value, granule_exponent)) {}

  /// Largest g such that `value` is a multiple of 2^g.
  static int granule(double value) {
    if (value == 0 || !std::isfinite(value)) return kAny;
    int exponent = 0;
    double fraction = std::frexp(value, &exponent);
    int g = exponent;
    while (fraction != std::floor(fraction)) {
      fraction *= 2;
      --g;
    }
    return g;
  }
  /// Whether a multiple of 2^g of this size has at most 24 significant bits.
  static bool fits(double magnitude, int g) {
    if (magnitude == 0 || std::isinf(magnitude)) return true;
    return std::abs(magnitude) <= std::ldexp(1.0, g > 900 ? 924 : g + 24) && g > -120;
  }
};

// --- plain floating point ---------------------------------------------------------------------

#define QUERN_FLOATING template <class F, class = std::enable_if_t<std::is_floating_point_v<F>>>
QUERN_FLOATING F q_abs(F x) { return std::fabs(x); }
QUERN_FLOATING F q_exp(F x) { return std::exp(x); }
QUERN_FLOATING F q_log(F x) { return std::log(x); }
QUERN_FLOATING F q_log1p(F x) { return std::log1p(x); }
QUERN_FLOATING F q_expm1(F x) { return std::expm1(x); }
QUERN_FLOATING F q_sqrt(F x) { return std::sqrt(x); }
QUERN_FLOATING F q_rsqrt(F x) { return F(1) / std::sqrt(x); }
QUERN_FLOATING F q_tanh(F x) { return std::tanh(x); }
QUERN_FLOATING F q_erf(F x) { return std::erf(x); }
QUERN_FLOATING F q_sin(F x) { return std::sin(x); }
QUERN_FLOATING F q_cos(F x) { return std::cos(x); }
QUERN_FLOATING F q_floor(F x) { return std::floor(x); }
QUERN_FLOATING F q_sign(F x) { return x > 0 ? F(1) : x < 0 ? F(-1) : F(0); }
QUERN_FLOATING F q_pow(F a, F b) { return std::pow(a, b); }
QUERN_FLOATING F q_max(F a, F b) { return a > b ? a : b; }
QUERN_FLOATING F q_min(F a, F b) { return a < b ? a : b; }
QUERN_FLOATING double as_double(F x) { return static_cast<double>(x); }
#undef QUERN_FLOATING

// --- running error ----------------------------------------------------------------------------

inline RunningError operator-(RunningError a) { return {-a.v, a.e}; }
inline RunningError operator+(RunningError a, RunningError b) {
  const double v = a.v + b.v;
  return {v, a.e + b.e + std::fabs(v)};
}
inline RunningError operator-(RunningError a, RunningError b) { return a + -b; }
inline RunningError operator*(RunningError a, RunningError b) {
  const double v = a.v * b.v;
  return {v, std::fabs(a.v) * b.e + std::fabs(b.v) * a.e + std::fabs(v)};
}
inline RunningError operator/(RunningError a, RunningError b) {
  const double v = a.v / b.v;
  return {v, (a.e + std::fabs(v) * b.e) / std::fabs(b.v) + std::fabs(v)};
}
inline bool operator<(RunningError a, RunningError b) { return a.v < b.v; }
inline bool operator<=(RunningError a, RunningError b) { return a.v <= b.v; }
inline bool operator>(RunningError a, RunningError b) { return a.v > b.v; }
inline bool operator>=(RunningError a, RunningError b) { return a.v >= b.v; }
inline bool operator==(RunningError a, RunningError b) { return a.v == b.v; }
inline bool operator!=(RunningError a, RunningError b) { return a.v != b.v; }

/// f(x) with derivative d and `own` roundings of its own.
inline RunningError elementary(double v, double d, RunningError x, double own) {
  const double propagated = x.e == 0 ? 0 : std::fabs(d) * x.e;
  return {v, propagated + own * std::fabs(v)};
}
inline RunningError q_abs(RunningError x) { return {std::fabs(x.v), x.e}; }
inline RunningError q_exp(RunningError x) {
  const double v = std::exp(x.v);
  return elementary(v, v, x, 2);
}
inline RunningError q_log(RunningError x) { return elementary(std::log(x.v), 1 / x.v, x, 2); }
inline RunningError q_log1p(RunningError x) {
  return elementary(std::log1p(x.v), 1 / (1 + x.v), x, 2);
}
inline RunningError q_expm1(RunningError x) {
  return elementary(std::expm1(x.v), std::exp(x.v), x, 2);
}
inline RunningError q_sqrt(RunningError x) {
  const double v = std::sqrt(x.v);
  return elementary(v, v > 0 ? 0.5 / v : 1e160, x, 2);
}
inline RunningError q_rsqrt(RunningError x) {
  const double v = 1 / std::sqrt(x.v);
  return elementary(v, 0.5 * v / x.v, x, 3);
}
inline RunningError q_tanh(RunningError x) {
  const double v = std::tanh(x.v);
  return elementary(v, 1 - v * v, x, 4);
}
inline RunningError q_erf(RunningError x) {
  return elementary(std::erf(x.v), 1.1283791670955126 * std::exp(-x.v * x.v), x, 4);
}
inline RunningError q_sin(RunningError x) { return elementary(std::sin(x.v), std::cos(x.v), x, 4); }
inline RunningError q_cos(RunningError x) { return elementary(std::cos(x.v), std::sin(x.v), x, 4); }
/// Near a jump, rounding alone decides: the scale becomes that of the jump.
inline RunningError q_floor(RunningError x) {
  const double v = std::floor(x.v);
  const double slack = 16 * 0x1p-24 * x.e;
  const bool decided = x.e == 0 || (x.v - v > slack && v + 1 - x.v > slack);
  return {v, decided ? 0 : 0x1p24};
}
inline RunningError q_sign(RunningError x) {
  const double v = x.v > 0 ? 1 : x.v < 0 ? -1 : 0;
  return {v, x.e == 0 || std::fabs(x.v) > 16 * 0x1p-24 * x.e ? 0 : 0x1p24};
}
inline RunningError q_pow(RunningError a, RunningError b) {
  const double v = std::pow(a.v, b.v);
  double e = 4 * std::fabs(v);
  if (a.e != 0) e += std::fabs(b.v * std::pow(a.v, b.v - 1)) * a.e;
  if (b.e != 0) e += std::fabs(v * std::log(std::fabs(a.v))) * b.e;
  return {v, e};
}
inline RunningError q_max(RunningError a, RunningError b) {
  return {a.v > b.v ? a.v : b.v, a.e > b.e ? a.e : b.e};
}
inline RunningError q_min(RunningError a, RunningError b) {
  return {a.v < b.v ? a.v : b.v, a.e > b.e ? a.e : b.e};
}
inline double as_double(RunningError x) { return x.v; }

// --- exactness --------------------------------------------------------------------------------

inline int lesser(int a, int b) { return a < b ? a : b; }
inline Exact operator-(Exact a) { return {-a.v, a.g, a.ok}; }
inline Exact operator+(Exact a, Exact b) {
  const int g = lesser(a.g, b.g);
  // The sum of magnitudes, not the sum: a reassociated evaluation may see it.
  return {a.v + b.v, g, a.ok && b.ok && Exact::fits(std::fabs(a.v) + std::fabs(b.v), g)};
}
inline Exact operator-(Exact a, Exact b) { return a + -b; }
inline Exact operator*(Exact a, Exact b) {
  const bool zero = a.v == 0 || b.v == 0;
  return {a.v * b.v, zero ? Exact::kAny : a.g + b.g, a.ok && b.ok};
}
inline Exact operator/(Exact a, Exact b) {
  int exponent = 0;
  const bool power = std::fabs(std::frexp(b.v, &exponent)) == 0.5;
  return {a.v / b.v, a.v == 0 ? Exact::kAny : a.g - (exponent - 1), a.ok && b.ok && power};
}
inline bool operator<(Exact a, Exact b) { return a.v < b.v; }
inline bool operator<=(Exact a, Exact b) { return a.v <= b.v; }
inline bool operator>(Exact a, Exact b) { return a.v > b.v; }
inline bool operator>=(Exact a, Exact b) { return a.v >= b.v; }
inline bool operator==(Exact a, Exact b) { return a.v == b.v; }
inline bool operator!=(Exact a, Exact b) { return a.v != b.v; }

/// f(x), exact only where the caller knows it is.
inline Exact inexact(double v, Exact x, bool is_exact) {
  return {v, Exact::granule(v), x.ok && is_exact};
}
inline Exact q_abs(Exact x) { return {std::fabs(x.v), x.g, x.ok}; }
inline Exact q_exp(Exact x) { return inexact(std::exp(x.v), x, x.v == 0); }
inline Exact q_log(Exact x) { return inexact(std::log(x.v), x, x.v == 1); }
inline Exact q_log1p(Exact x) { return inexact(std::log1p(x.v), x, x.v == 0); }
inline Exact q_expm1(Exact x) { return inexact(std::expm1(x.v), x, x.v == 0); }
inline Exact q_sqrt(Exact x) { return inexact(std::sqrt(x.v), x, x.v == 0 || x.v == 1); }
inline Exact q_rsqrt(Exact x) { return inexact(1 / std::sqrt(x.v), x, x.v == 1); }
inline Exact q_tanh(Exact x) { return inexact(std::tanh(x.v), x, x.v == 0); }
inline Exact q_erf(Exact x) { return inexact(std::erf(x.v), x, x.v == 0); }
inline Exact q_sin(Exact x) { return inexact(std::sin(x.v), x, x.v == 0); }
inline Exact q_cos(Exact x) { return inexact(std::cos(x.v), x, x.v == 0); }
inline Exact q_floor(Exact x) { return {std::floor(x.v), Exact::granule(std::floor(x.v)), x.ok}; }
inline Exact q_sign(Exact x) { return Exact(x.v > 0 ? 1 : x.v < 0 ? -1 : 0, 0, x.ok); }
inline Exact q_pow(Exact a, Exact b) {
  return inexact(std::pow(a.v, b.v), a, b.ok && (b.v == 0 || b.v == 1 || a.v == 1));
}
inline Exact q_max(Exact a, Exact b) {
  return {a.v > b.v ? a.v : b.v, lesser(a.g, b.g), a.ok && b.ok};
}
inline Exact q_min(Exact a, Exact b) {
  return {a.v < b.v ? a.v : b.v, lesser(a.g, b.g), a.ok && b.ok};
}
inline double as_double(Exact x) { return x.v; }

// --- accumulators -----------------------------------------------------------------------------

/// Running monoids. `add` takes the next element; `result` is the value so far (scans ask for it
/// after every element). The plain ones fold in the scalar itself.
template <class T>
struct SumOf {
  T v = T(0);
  void add(T x) { v = v + x; }
  T result() const { return v; }
};
template <class T>
struct ProductOf {
  T v = T(1);
  void add(T x) { v = v * x; }
  T result() const { return v; }
};
template <class T>
struct MaxOf {
  T v = T(-std::numeric_limits<double>::infinity());
  void add(T x) { v = q_max(x, v); }
  T result() const { return v; }
};
template <class T>
struct MinOf {
  T v = T(std::numeric_limits<double>::infinity());
  void add(T x) { v = q_min(x, v); }
  T result() const { return v; }
};

/// A sum of n terms in any order: the terms' own errors, and sqrt(n) roundings of the sum of
/// magnitudes.
template <>
struct SumOf<RunningError> {
  double v = 0, e = 0, magnitude = 0, n = 0;
  void add(RunningError x) {
    v += x.v;
    e += x.e;
    magnitude += std::fabs(x.v);
    n += 1;
  }
  RunningError result() const { return {v, e + std::sqrt(n) * magnitude}; }
};
template <>
struct ProductOf<RunningError> {
  double v = 1, relative = 0, n = 0;
  void add(RunningError x) {
    v *= x.v;
    if (x.v != 0) relative += x.e / std::fabs(x.v);
    n += 1;
  }
  RunningError result() const { return {v, std::fabs(v) * (relative + 2 * std::sqrt(n))}; }
};
template <>
struct SumOf<Exact> {
  double v = 0, magnitude = 0;
  int g = Exact::kAny;
  bool ok = true;
  void add(Exact x) {
    v += x.v;
    magnitude += std::fabs(x.v);
    g = lesser(g, x.g);
    ok = ok && x.ok;
  }
  Exact result() const { return {v, g, ok && Exact::fits(magnitude, g)}; }
};

/// Position of the largest (or smallest) element, the first of equals. `certain` says that no
/// rounding of the elements could have changed the answer.
template <class T, bool largest>
struct ArgOf {
  double best =
      largest ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  double best_error = 0;
  double runner_up = best;  ///< with its error added in its favour
  long at = 0;
  bool ok = true;

  void add(T x, long index) {
    const double value = as_double(x);
    const double error = slack(x);
    ok = ok && exact(x);
    if (largest ? value > best : value < best) {
      rival(best, best_error);
      best = value;
      best_error = error;
      at = index;
    } else {
      rival(value, error);
    }
  }
  long result() const { return at; }
  bool certain() const {
    if (!ok) return false;
    if (best_error == 0 && !rounded) return true;
    return largest ? best - best_error > runner_up : best + best_error < runner_up;
  }

 private:
  static double slack(RunningError x) { return 16 * 0x1p-24 * x.e; }
  template <class U>
  static double slack(U) {
    return 0;
  }
  static bool exact(Exact x) { return x.ok; }
  template <class U>
  static bool exact(U) {
    return true;
  }
  void rival(double value, double error) {
    rounded = rounded || error > 0;
    const double favoured = largest ? value + error : value - error;
    if (largest ? favoured > runner_up : favoured < runner_up) runner_up = favoured;
  }
  bool rounded = false;
};

}  // namespace quern
