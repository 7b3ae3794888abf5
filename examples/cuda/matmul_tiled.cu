// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/matmul.task: tiles of 128 by 128, 8 by 8 results a thread, three tiles of
// depth 16 on their way to shared memory by asynchronous copies.
// quern: target = cuda
// quern: launch matmul grid (ceil_div(n, 128), ceil_div(m, 128)) block (256)
// quern:   shared (3 * 4 * (128 * 20 + 16 * 132)) args (a, b, c, i32(m), i32(n), i32(k))
#include "quern_cuda.h"

constexpr int kDepth = 16, kStages = 3;
constexpr int kPitchA = 20, kPitchB = 132;  // in floats; rows begin on different banks
constexpr int kTileA = 128 * kPitchA, kTileB = kDepth * kPitchB;

/// Copies `count` floats (4 at most) and fills up with zeros; 16 bytes at once where aligned.
Q_INLINE void copy4(float* to, const float* from, const float* whole, long count, bool vectors) {
  count = count < 0 ? 0 : count < 4 ? count : 4;
  if (vectors) return q_copy16(to, count > 0 ? from : whole, static_cast<int>(count) * 4);
  for (int e = 0; e < 4; ++e) q_copy4(to + e, e < count ? from + e : whole, e < count ? 4 : 0);
}

struct Operands {
  const float *a, *b;
  int m, n, k, i0, j0;
};

Q_INLINE void fetch(const Operands& o, float* tile, int p) {
  const int t = q_thread();
#pragma unroll
  for (int u = 0; u < 2; ++u) {
    const int row = t / 4 + 64 * u, at = t % 4 * 4;
    const bool inside = o.i0 + row < o.m;
    copy4(tile + row * kPitchA + at, o.a + static_cast<long>(o.i0 + row) * o.k + p + at, o.a,
          inside ? o.k - p - at : 0, o.k % 4 == 0);
  }
#pragma unroll
  for (int u = 0; u < 2; ++u) {
    const int row = t / 32 + 8 * u, at = t % 32 * 4;
    const bool inside = p + row < o.k;
    copy4(tile + kTileA + row * kPitchB + at, o.b + static_cast<long>(p + row) * o.n + o.j0 + at,
          o.b, inside ? o.n - o.j0 - at : 0, o.n % 4 == 0);
  }
}

extern "C" __global__ void __launch_bounds__(256, 2)
    matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m,
           int n, int k) {
  extern __shared__ __align__(16) float tiles[];
  const Operands o = {a, b, m, n, k, static_cast<int>(blockIdx.y) * 128,
                      static_cast<int>(blockIdx.x) * 128};
  const int tx = q_thread() % 16, ty = q_thread() / 16;
  float sum[8][8] = {};
  for (int s = 0; s < kStages - 1; ++s) {
    fetch(o, tiles + s * (kTileA + kTileB), s * kDepth);
    q_copy_commit();
  }
  const int steps = (k + kDepth - 1) / kDepth;
  for (int step = 0; step < steps; ++step) {
    q_copy_wait<kStages - 2>();
    __syncthreads();
    const int ahead = step + kStages - 1;
    if (ahead < steps) fetch(o, tiles + ahead % kStages * (kTileA + kTileB), ahead * kDepth);
    q_copy_commit();
    const float* left = tiles + step % kStages * (kTileA + kTileB);
    const float* right = left + kTileA;
#pragma unroll
    for (int q = 0; q < kDepth; q += 4) {
      float x[8][4], y[4][8];
#pragma unroll
      for (int i = 0; i < 8; ++i) q_load4(x[i], left + (ty * 8 + i) * kPitchA + q);
#pragma unroll
      for (int d = 0; d < 4; ++d) {
        q_load4(y[d], right + (q + d) * kPitchB + tx * 4);
        q_load4(y[d] + 4, right + (q + d) * kPitchB + 64 + tx * 4);
      }
#pragma unroll
      for (int d = 0; d < 4; ++d) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
          for (int j = 0; j < 8; ++j) sum[i][j] += x[i][d] * y[d][j];
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int row = o.i0 + ty * 8 + i;
    if (row >= m) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int column = o.j0 + j / 4 * 64 + tx * 4 + j % 4;
      if (column < n) c[static_cast<long>(row) * n + column] = sum[i][j];
    }
  }
}
