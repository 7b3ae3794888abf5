// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/attention.task, for heads too wide to keep on the chip: scores into scratch
// memory, softmax of their rows in place, then the product with the values.
// quern: target = cuda
// quern: scratch scores : f32[batch * heads, length, length]
// quern: launch score grid (ceil_div(length, 64), ceil_div(length, 64), batch * heads) block (256)
// quern:   args (q, k, scores, i32(length), i32(width), f32(1.0 / sqrt(width)))
// quern: launch softmax grid (ceil_div(batch * heads * length, 8)) block (256)
// quern:   args (scores, i64(batch * heads * length), i32(length))
// quern: launch mix grid (ceil_div(width, 64), ceil_div(length, 64), batch * heads) block (256)
// quern:   args (scores, v, y, i32(length), i32(width))
#include "quern_cuda.h"

constexpr int kDepth = 16;
using Tile = float[kDepth][68];

/// sum += left · right for the 4 by 4 results of this thread.
Q_INLINE void multiply(float sum[4][4], const Tile& left, const Tile& right) {
  const int tx = q_thread() % 16, ty = q_thread() / 16;
#pragma unroll
  for (int d = 0; d < kDepth; ++d) {
    float x[4], y[4];
    q_load4(x, &left[d][ty * 4]);
    q_load4(y, &right[d][tx * 4]);
#pragma unroll
    for (int e = 0; e < 16; ++e) sum[e / 4][e % 4] += x[e / 4] * y[e % 4];
  }
}

/// Rows `first` … of a [rows, depth] matrix, as a tile with its depth first.
Q_INLINE void fill_rows(Tile& tile, const float* from, int first, int rows, int depth, int p) {
#pragma unroll
  for (int u = 0; u < 4; ++u) {
    const int r = q_thread() / 16 + u * 16, d = q_thread() % 16;
    const bool inside = first + r < rows && p + d < depth;
    tile[d][r] = inside ? from[static_cast<long>(first + r) * depth + p + d] : 0.0f;
  }
}

/// Columns `first` … of a [depth, columns] matrix.
Q_INLINE void fill_columns(Tile& tile, const float* from, int first, int columns, int depth, int p) {
#pragma unroll
  for (int u = 0; u < 4; ++u) {
    const int d = q_thread() / 64 + u * 4, c = q_thread() % 64;
    const bool inside = first + c < columns && p + d < depth;
    tile[d][c] = inside ? from[static_cast<long>(p + d) * columns + first + c] : 0.0f;
  }
}

Q_INLINE void put(float* to, const float sum[4][4], int i0, int j0, int rows, int columns,
                  float scale) {
  const int tx = q_thread() % 16, ty = q_thread() / 16;
#pragma unroll
  for (int e = 0; e < 16; ++e) {
    const int i = i0 + ty * 4 + e / 4, j = j0 + tx * 4 + e % 4;
    if (i < rows && j < columns) to[static_cast<long>(i) * columns + j] = sum[e / 4][e % 4] * scale;
  }
}

extern "C" __global__ void __launch_bounds__(256)
    score(const float* __restrict__ q, const float* __restrict__ k, float* __restrict__ scores,
          int length, int width, float scale) {
  __shared__ __align__(16) Tile left, right;
  const long head = blockIdx.z;
  const int i0 = blockIdx.y * 64, j0 = blockIdx.x * 64;
  float sum[4][4] = {};
  for (int p = 0; p < width; p += kDepth) {
    fill_rows(left, q + head * length * width, i0, length, width, p);
    fill_rows(right, k + head * length * width, j0, length, width, p);
    __syncthreads();
    multiply(sum, left, right);
    __syncthreads();
  }
  put(scores + head * length * length, sum, i0, j0, length, length, scale);
}

extern "C" __global__ void __launch_bounds__(256) softmax(float* scores, long rows, int length) {
  const long row = q_block() * 8 + q_thread() / 32;
  const int lane = q_thread() % 32;
  if (row >= rows) return;
  float* s = scores + row * length;
  float most = -Q_INFINITY, sum = 0.0f;
  for (int j = lane; j < length; j += 32) most = q_max(most, s[j]);
  most = q_reduce_max(most, 32, nullptr);
  for (int j = lane; j < length; j += 32) {
    s[j] = q_exp(s[j] - most);
    sum += s[j];
  }
  const float scale = 1.0f / q_reduce_sum(sum, 32, nullptr);
  for (int j = lane; j < length; j += 32) s[j] *= scale;
}

extern "C" __global__ void __launch_bounds__(256)
    mix(const float* __restrict__ scores, const float* __restrict__ v, float* __restrict__ y,
        int length, int width) {
  __shared__ __align__(16) Tile left, right;
  const long head = blockIdx.z;
  const int i0 = blockIdx.y * 64, j0 = blockIdx.x * 64;
  float sum[4][4] = {};
  for (int p = 0; p < length; p += kDepth) {
    fill_rows(left, scores + head * length * length, i0, length, length, p);
    fill_columns(right, v + head * length * width, j0, width, length, p);
    __syncthreads();
    multiply(sum, left, right);
    __syncthreads();
  }
  put(y + head * length * width, sum, i0, j0, length, width, 1.0f);
}
