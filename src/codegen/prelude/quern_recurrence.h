// SPDX-License-Identifier: Apache-2.0
#pragma once
// Included after quern_cpu.h.
// What generated CPU kernels of recurrences need: a team of threads that goes through all steps
// together and meets several times a step, and products with a matrix that stays the same.

extern "C" int sched_yield(void) noexcept;

namespace qr {

/// Where the threads of a team wait for one another. A step takes microseconds: they spin first.
struct Gate {
  alignas(64) uint32_t arrived;
  alignas(64) uint32_t round;
};

/// One thread of a team.
struct Member {
  Gate* gate;
  int64_t self, team;
  uint32_t round;
};

/// Returns when every thread of the team has called it as often.
inline void meet(Member& me) {
  if (me.team == 1) return;
  const uint32_t next = ++me.round;
  Gate& gate = *me.gate;
  if (__atomic_add_fetch(&gate.arrived, 1u, __ATOMIC_ACQ_REL) == static_cast<uint32_t>(me.team)) {
    __atomic_store_n(&gate.arrived, 0u, __ATOMIC_RELAXED);
    __atomic_store_n(&gate.round, next, __ATOMIC_RELEASE);
    return;
  }
  for (int spins = 0; __atomic_load_n(&gate.round, __ATOMIC_ACQUIRE) != next; ++spins) {
    if (spins > 2000) {
      sched_yield();
    } else {
#if defined(__SSE2__)
      __builtin_ia32_pause();
#endif
    }
  }
}

/// So many threads that each has some microseconds of the `work` of a step, in multiplications.
QI int team_for(double work) {
  const double wanted = work / 32768;
  const int threads = q_threads();
  return wanted >= threads ? threads : wanted < 1 ? 1 : static_cast<int>(wanted);
}

enum { kVectors = 2, kPanel = kVectors * QN };

/// The part of one thread: rows and elements of each.
struct Part {
  int64_t row, rows_end, first, end;
};

/// Cuts along the elements of rows first, at whole panels.
QI Part part_of(const Member& me, int64_t rows, int64_t length) {
  const int64_t panels = (length + kPanel - 1) / kPanel;
  const int64_t across = q_imin(me.team, panels);
  const int64_t down = q_imin(me.team / across, rows);
  if (me.self >= across * down) return {0, 0, 0, 0};
  const int64_t a = me.self % across, d = me.self / across;
  return {rows * d / down, rows * (d + 1) / down, panels * a / across * kPanel,
          q_imin(length, panels * (a + 1) / across * kPanel)};
}

QI int64_t panel_floats(int64_t length, int64_t terms) {
  return (length + kPanel - 1) / kPanel * kPanel * terms;
}

#if defined(__AVX512F__)
enum { kRows = 12 };
#else
enum { kRows = 5 };
#endif

/// put(r, v, sum) for each of R rows and each vector of a panel; sum is that of left[r][k] times
/// panel[k][v] over the terms k. Few rows take several sums at a time, to fill the pipelines.
template <int R, class F>
inline __attribute__((noinline)) void multiply(const float* left, const float* panel, int64_t terms,
                                               F put) {
  constexpr int U = R == 1 ? 4 : R == 2 ? 2 : 1;
  qv sum[U][R][kVectors] = {};
  int64_t k = 0;
  for (; k + U <= terms; k += U) {
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) {
      qv right[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        right[v] = q_ld(QFull{}, panel + (k + u) * kPanel + v * QN);
      }
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const qv x = q_splat(left[r * terms + k + u]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[u][r][v] += x * right[v];
      }
    }
  }
  for (; k < terms; ++k) {
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        sum[0][r][v] += left[r * terms + k] * q_ld(QFull{}, panel + k * kPanel + v * QN);
      }
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      qv total = sum[0][r][v];
#pragma GCC unroll 4
      for (int u = 1; u < U; ++u) total += sum[u][r][v];
      put(r, v, total);
    }
  }
}

/// The same for a number of rows, at most kRows, that is known when running.
template <int R, class F>
QI void multiply_rows(int64_t rows, const float* left, const float* panel, int64_t terms, F put) {
  if constexpr (R > 0) {
    if (rows == R) return multiply<R>(left, panel, terms, put);
    multiply_rows<R - 1>(rows, left, panel, terms, put);
  }
}

/// Stores one vector of a row of `length` elements, or what of it lies inside.
QI void store(float* row, int64_t at, int64_t end, qv x) {
  if (at + QN <= end) {
    q_st(QFull{}, row + at, x);
  } else if (at < end) {
    q_st(QPart{static_cast<int>(end - at)}, row + at, x);
  }
}

/// Writes a panel: f(w, i) is the vector of one term at element i.
template <class F>
QI void pack(float* to, int64_t first, int64_t length, F f) {
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v, to += QN) {
    const int64_t at = first + v * QN;
    qv x{};
    if (at + QN <= length) {
      x = f(QFull{}, at);
    } else if (at < length) {
      const QPart w{static_cast<int>(length - at)};
      x = q_keep(w, f(w, at), 0.0f);
    }
    q_st(QFull{}, to, x);
  }
}

}  // namespace qr
