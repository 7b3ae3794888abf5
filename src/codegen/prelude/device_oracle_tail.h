// SPDX-License-Identifier: Apache-2.0
using namespace quern;
/// What an element of an output must be, and the rounding-error scale around it.
struct Answer {
  double value, scale;
};
inline double scale_of(RunningError x) { return x.e; }
inline double scale_of(Exact x) { return x.ok ? 0 : 1; }
inline double slack_of(RunningError x) { return 16 * 0x1p-24 * x.e; }
inline double slack_of(Exact x) { return x.ok ? 0 : INFINITY; }
/// The scale of a position that rounding might have changed.
inline double doubtful(RunningError) { return INFINITY; }
inline double doubtful(Exact) { return 1; }

template <class U>
inline U constant(double v) {
  return U(v);
}
template <class U, class E>
inline U fetch(const E* p, long i) {
  if constexpr (std::is_same_v<U, E>) {
    return p[i];
  } else {
    return U(static_cast<double>(p[i]));
  }
}
inline long floor_div(long a, long b) { return a / b - ((a % b != 0) & ((a < 0) != (b < 0))); }
inline long floor_mod(long a, long b) { return a - b * floor_div(a, b); }
inline long index_min(long a, long b) { return a < b ? a : b; }
inline long index_max(long a, long b) { return a > b ? a : b; }
inline bool inside(long index, long extent) { return index >= 0 && index < extent; }

/// Position of the largest (or smallest) element, the first of equals. `certain`: no rounding of
/// the elements could have changed it.
template <class U, bool largest>
struct ArgOf {
  double best = -INFINITY, best_slack = 0, rival = -INFINITY;
  long at = 0;
  bool rounded = false;
  void challenge(double value, double slack) {
    rounded = rounded || slack > 0;
    if (value + slack > rival) rival = value + slack;
  }
  void add(U x, long i) { take(largest ? to_double(x) : -to_double(x), slack_of(x), i); }
  void take(double value, double slack, long i) {
    if (value > best || (value == best && i < at)) {
      challenge(best, best_slack);
      best = value, best_slack = slack, at = i;
    } else {
      challenge(value, slack);
    }
  }
  long result() const { return at; }
  bool certain() const { return (best_slack == 0 && !rounded) || best - best_slack > rival; }
};

template <class T>
void merge(SumAccumulator<T>& a, const SumAccumulator<T>& b);
template <>
inline void merge(SumAccumulator<RunningError>& a, const SumAccumulator<RunningError>& b) {
  a.total += b.total, a.errors += b.errors, a.magnitudes += b.magnitudes, a.count += b.count;
}
template <>
inline void merge(SumAccumulator<Exact>& a, const SumAccumulator<Exact>& b) {
  a.total += b.total, a.magnitudes += b.magnitudes;
  if (b.g < a.g) a.g = b.g;
  a.ok = a.ok && b.ok;
}
inline void merge(ConvolutionAccumulator<RunningError>& a,
                  const ConvolutionAccumulator<RunningError>& b) {
  merge(a.sum, b.sum);
  a.squares += b.squares, a.rounded += b.rounded;
}
template <class T>
void merge(ProdAccumulator<T>& a, const ProdAccumulator<T>& b);
template <>
inline void merge(ProdAccumulator<RunningError>& a, const ProdAccumulator<RunningError>& b) {
  a.total *= b.total, a.relative += b.relative, a.count += b.count;
}
template <>
inline void merge(ProdAccumulator<Exact>& a, const ProdAccumulator<Exact>& b) {
  a.total = a.total * b.total, a.largest *= b.largest, a.smallest *= b.smallest;
}
template <class T>
inline void merge(MaxAccumulator<T>& a, const MaxAccumulator<T>& b) {
  a.add(b.total);
}
template <class T>
inline void merge(MinAccumulator<T>& a, const MinAccumulator<T>& b) {
  a.add(b.total);
}
template <class U, bool largest>
inline void merge(ArgOf<U, largest>& a, const ArgOf<U, largest>& b) {
  if (b.rival > a.rival) a.rival = b.rival;
  a.rounded = a.rounded || b.rounded;
  a.take(b.best, b.best_slack, b.at);
}

/// Merges the accumulators of `width` neighbouring threads, a power of two, into the first's.
template <class A>
inline void merge_across(A& mine, int width) {
  if (width == 1) return;
  __shared__ __align__(16) unsigned char memory[256 * sizeof(A)];
  A* const all = reinterpret_cast<A*>(memory);
  const int thread = threadIdx.x;
  all[thread] = mine;
  __syncthreads();
  for (int step = width / 2; step > 0; step /= 2) {
    if ((thread & (width - 1)) < step) merge(all[thread], all[thread + step]);
    __syncthreads();
  }
  mine = all[thread];
}
