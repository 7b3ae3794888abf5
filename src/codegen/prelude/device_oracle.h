// SPDX-License-Identifier: Apache-2.0
// What ir/scalar.h needs where there are no headers (NVRTC), and what oracles on a device add to
// it: accumulators of several threads become one. Compiled with every function for the device.
typedef long int64_t;
#define __builtin_ctzll(x) (__ffsll((long long)(x)) - 1)
#ifndef INFINITY
#define INFINITY __longlong_as_double(0x7ff0000000000000ll)
#endif
#define __builtin_inf() INFINITY
#define __builtin_nan(text) (INFINITY - INFINITY)
namespace std {
using ::cos;
using ::erf;
using ::exp;
using ::expm1;
using ::fabs;
using ::floor;
using ::frexp;
using ::ldexp;
using ::log;
using ::log1p;
using ::nearbyint;
using ::pow;
using ::sin;
using ::sqrt;
using ::tanh;
inline bool isfinite(double x) { return ::fabs(x) < INFINITY; }
inline bool isinf(double x) { return ::fabs(x) == INFINITY; }
template <class A, class B>
constexpr bool is_same_v = false;
template <class A>
constexpr bool is_same_v<A, A> = true;
}  // namespace std
