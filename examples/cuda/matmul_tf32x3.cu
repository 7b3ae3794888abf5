// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/matmul.task on the tensor cores of a warp (mma.sync): every operand is split
// into two TF32 numbers, and three of the four products are summed: about 22 bits. Tensor cores
// truncate as they add, so sums of 32 terms are added up in ordinary registers.
// quern: target = cuda
// quern: launch matmul grid (ceil_div(n, 64), ceil_div(m, 128)) block (256)
// quern:   args (a, b, c, i32(m), i32(n), i32(k))
#include "quern_cuda.h"

constexpr int kDepth = 32, kPitchA = 36, kPitchB = 72;

struct Place {
  int i0, j0, row, column, group, lane;  // of the block, the warp and the thread
};

Q_INLINE void fill(float (*left)[kPitchA], float (*right)[kPitchB], const float* a, const float* b,
                   int m, int n, int k, const Place& at, int p) {
  for (int e = q_thread(); e < 128 * kDepth; e += 256) {
    const int i = e / kDepth, q = e % kDepth;
    left[i][q] = at.i0 + i < m && p + q < k ? a[static_cast<long>(at.i0 + i) * k + p + q] : 0.0f;
  }
  for (int e = q_thread(); e < kDepth * 64; e += 256) {
    const int q = e / 64, j = e % 64;
    right[q][j] = at.j0 + j < n && p + q < k ? b[static_cast<long>(p + q) * n + at.j0 + j] : 0.0f;
  }
}

/// d += left · right over one tile of depth 32.
Q_INLINE void multiply(float d[2][4][4], const float (*left)[kPitchA],
                       const float (*right)[kPitchB], const Place& at) {
#pragma unroll
  for (int q = 0; q < kDepth; q += 8) {
    unsigned ah[2][4], al[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float x = left[at.row + i * 16 + at.group + e % 2 * 8][q + at.lane + e / 2 * 4];
        q_tf32_split(x, &ah[i][e], &al[i][e]);
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      unsigned bh[2], bl[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float y = right[q + at.lane + e * 4][at.column + j * 8 + at.group];
        q_tf32_split(y, &bh[e], &bl[e]);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        q_mma_tf32(d[i][j], al[i], bh);
        q_mma_tf32(d[i][j], ah[i], bl);
        q_mma_tf32(d[i][j], ah[i], bh);
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(256)
    matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m,
           int n, int k) {
  __shared__ float left[128][kPitchA], right[kDepth][kPitchB];
  const int warp = q_thread() / 32;
  const Place at = {static_cast<int>(blockIdx.y) * 128, static_cast<int>(blockIdx.x) * 64,
                    warp / 2 * 32, warp % 2 * 32, q_thread() % 32 / 4, q_thread() % 4};
  float sum[2][4][4] = {};
  for (int p = 0; p < k; p += kDepth) {
    fill(left, right, a, b, m, n, k, at, p);
    __syncthreads();
    float d[2][4][4] = {};
    multiply(d, left, right, at);
#pragma unroll
    for (int e = 0; e < 32; ++e) sum[e / 16][e / 4 % 4][e % 4] += d[e / 16][e / 4 % 4][e % 4];
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = at.i0 + at.row + i * 16 + at.group + e / 2 * 8;
        const int column = at.j0 + at.column + j * 8 + at.lane * 2 + e % 2;
        if (row < m && column < n) c[static_cast<long>(row) * n + column] = sum[i][j][e];
      }
    }
  }
}
