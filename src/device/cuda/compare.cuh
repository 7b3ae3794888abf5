// SPDX-License-Identifier: Apache-2.0
//
// How an output is compared with what it must be, on the GPU, element by element: verify/compare.cpp
// line by line. The referee's kernels and the oracles of tasks (codegen/device_oracle.h) share it.

namespace {

__device__ long long thread_index() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ long long thread_count() { return (long long)gridDim.x * blockDim.x; }

/// What a thread, a block or all of them found (referee.h has the same layout).
struct Partial {
  double max_error, sum_squares, worst_error, worst_expected;
  long long wrong, unwritten, compared, worst_index;
  long long inexact;  ///< elements whose scale is not 0
};

__device__ Partial nothing_found() { return {0, 0, -1, 0, 0, 0, 0, -1, 0}; }

__device__ Partial better(Partial one, const Partial& other) {
  one.max_error = fmax(one.max_error, other.max_error);
  one.sum_squares += other.sum_squares;
  one.wrong += other.wrong;
  one.unwritten += other.unwritten;
  one.compared += other.compared;
  one.inexact += other.inexact;
  const bool worse = other.worst_error > one.worst_error ||
                     (other.worst_error == one.worst_error && other.worst_index >= 0 &&
                      (one.worst_index < 0 || other.worst_index < one.worst_index));
  if (worse) {
    one.worst_error = other.worst_error;
    one.worst_expected = other.worst_expected;
    one.worst_index = other.worst_index;
  }
  return one;
}

template <class T>
struct Traits;
template <>
struct Traits<float> {
  static constexpr double unit = 0x1p-24, tiny = 0x1p-126;
  static constexpr bool floating = true, narrow = true;
};
template <>
struct Traits<double> {
  static constexpr double unit = 0x1p-53, tiny = 0x1p-1022;
  static constexpr bool floating = true, narrow = false;
};
template <>
struct Traits<int> {
  static constexpr double unit = 0x1p-24, tiny = -2147483648.0;
  static constexpr bool floating = false, narrow = false;
};
template <>
struct Traits<long long> {
  static constexpr double unit = 0x1p-24, tiny = -0x1p63;
  static constexpr bool floating = false, narrow = false;
};
template <>
struct Traits<long> : Traits<long long> {};

template <class T>
__device__ bool is_poison(const T* at) {
  if constexpr (sizeof(T) == 4) {
    return *(const unsigned*)at == 0xffffffffu;
  } else {
    return *(const unsigned long long*)at == ~0ull;
  }
}

__device__ double infinity() { return __longlong_as_double(0x7ff0000000000000ll); }

template <class T>
__device__ double error_of(T got, double value, double scale, bool bitwise) {
  const double candidate = (double)got;
  if (candidate == value) return 0;
  if (isnan(candidate) && isnan(value)) return 0;
  if (bitwise || !isfinite(value) || !isfinite(candidate)) return infinity();
  const double bound = Traits<T>::unit * scale + Traits<T>::tiny;
  if (bound <= 0) return infinity();
  return fabs(candidate - value) / bound;
}

template <class T>
__device__ void look(const T* at, double value, double scale, double factor, bool bitwise,
                     long long i, Partial& partial) {
  if (scale != 0) ++partial.inexact;
  if (is_poison(at) && (Traits<T>::floating || (double)*at != value)) {
    ++partial.unwritten;
    ++partial.wrong;
    if (partial.worst_error < 0) {
      partial.worst_error = 0, partial.worst_expected = value, partial.worst_index = i;
    }
    return;
  }
  if (!bitwise) {
    if (!isfinite(scale) && !isinf(value)) return;
    if (Traits<T>::narrow && fabs(value) > 3e38 && isfinite(value)) return;
  }
  ++partial.compared;
  const double error = error_of(*at, value, scale, bitwise);
  partial.max_error = fmax(partial.max_error, error);
  if (isfinite(error)) partial.sum_squares += error * error;
  if (error <= factor) return;
  ++partial.wrong;
  if (error > partial.worst_error) {
    partial.worst_error = error, partial.worst_expected = value, partial.worst_index = i;
  }
}

/// Adds up what the threads of a block of 256 found.
__device__ void gather(const Partial& mine, Partial* found) {
  __shared__ Partial shared[256];
  shared[threadIdx.x] = mine;
  for (unsigned half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      shared[threadIdx.x] = better(shared[threadIdx.x], shared[threadIdx.x + half]);
    }
  }
  if (threadIdx.x == 0) *found = shared[0];
}

}  // namespace

/// Adds up what `blocks` blocks found, behind the first place, into it. One block of 256 threads.
extern "C" __global__ void __launch_bounds__(256) sum_found(Partial* found, long long blocks) {
  Partial mine = nothing_found();
  for (long long i = threadIdx.x; i < blocks; i += 256) mine = better(mine, found[1 + i]);
  gather(mine, found);
}
