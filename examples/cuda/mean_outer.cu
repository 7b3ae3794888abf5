// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/mean_outer.task: neighbouring threads take neighbouring columns; each block
// sums an eighth of the rows into scratch memory, a second launch adds the eight.
// quern: target = cuda
// quern: scratch partial : f32[batch, 8, dim]
// quern: launch eighths grid (ceil_div(dim, 256), 8, batch) block (256)
// quern:   args (x, partial, i64(rows), i64(dim))
// quern: launch finish grid (ceil_div(dim, 256), batch) block (256)
// quern:   args (partial, y, i64(dim), f32(1.0 / rows)) programmatic
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(256)
    eighths(const float* __restrict__ x, float* __restrict__ partial, long rows, long dim) {
  q_grid_ready();
  const long column = q_block() * 256 + q_thread();
  if (column >= dim) return;
  const long share = (rows + 7) / 8, first = blockIdx.y * share;
  const long last = first + share < rows ? first + share : rows;
  const float* in = x + blockIdx.z * rows * dim + column;
  float sum[4] = {};
  long i = first;
  for (; i + 15 < last; i += 16) {
    float v[16];
#pragma unroll
    for (int u = 0; u < 16; ++u) v[u] = in[(i + u) * dim];
#pragma unroll
    for (int u = 0; u < 16; ++u) sum[u % 4] += v[u];
  }
  for (; i < last; ++i) sum[0] += in[i * dim];
  partial[(blockIdx.z * 8 + blockIdx.y) * dim + column] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

extern "C" __global__ void __launch_bounds__(256)
    finish(const float* partial, float* __restrict__ y, long dim, float scale) {
  q_grid_wait();
  const long column = q_block() * 256 + q_thread();
  if (column >= dim) return;
  float sum = 0.0f;
#pragma unroll
  for (int part = 0; part < 8; ++part) sum += partial[(blockIdx.y * 8 + part) * dim + column];
  y[blockIdx.y * dim + column] = sum * scale;
}
