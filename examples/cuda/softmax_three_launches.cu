// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/softmax.task: each row in 32 parts, so that few rows fill the chip too. Parts
// leave their maximum and sum in scratch memory; a second launch combines them, a third writes.
// quern: target = cuda
// quern: scratch part_max : f32[batch, 32]
// quern: scratch part_sum : f32[batch, 32]
// quern: scratch row_max : f32[batch]
// quern: scratch row_scale : f32[batch]
// quern: launch parts grid (32, batch) block (256) args (x, part_max, part_sum, i64(dim))
// quern: launch combine grid (ceil_div(batch, 8)) block (256)
// quern:   args (part_max, part_sum, row_max, row_scale, i64(batch)) programmatic
// quern: launch write grid (32, batch) block (256) args (x, row_max, row_scale, y, i64(dim))
// quern:   programmatic
#include "quern_cuda.h"

struct Range {
  long first, last;
};
Q_INLINE Range part_of(long dim) {
  const long share = (dim + 127) / 128 * 4;
  const long first = blockIdx.x * share, last = first + share;
  return {first < dim ? first : dim, last < dim ? last : dim};
}

extern "C" __global__ void __launch_bounds__(256)
    parts(const float* __restrict__ x, float* __restrict__ part_max, float* __restrict__ part_sum,
          long dim) {
  __shared__ float scratch[32];
  q_grid_ready();
  const float* row = x + blockIdx.y * dim;
  const Range range = part_of(dim);
  float most = -Q_INFINITY, sum = 0.0f;
#pragma unroll 8
  for (long j = range.first + q_thread(); j < range.last; j += 256) most = q_max(most, row[j]);
  most = q_reduce_max(most, 256, scratch);
#pragma unroll 8
  for (long j = range.first + q_thread(); j < range.last; j += 256) sum += q_exp(row[j] - most);
  sum = q_reduce_sum(sum, 256, scratch);
  if (q_thread() == 0) {
    part_max[blockIdx.y * 32 + blockIdx.x] = most;
    part_sum[blockIdx.y * 32 + blockIdx.x] = sum;
  }
}

/// A warp a row, a lane a part. An empty part has maximum -inf and sum 0.
extern "C" __global__ void __launch_bounds__(256)
    combine(const float* part_max, const float* part_sum, float* row_max, float* row_scale,
            long batch) {
  q_grid_wait();
  q_grid_ready();
  const long row = q_block() * 8 + q_thread() / 32;
  const int lane = q_thread() % 32;
  const bool alive = row < batch;
  const float most = alive ? part_max[row * 32 + lane] : 0.0f;
  const float sum = alive ? part_sum[row * 32 + lane] : 0.0f;
  const float top = q_reduce_max(most, 32, nullptr);
  const float total = q_reduce_sum(most == -Q_INFINITY ? 0.0f : sum * q_exp(most - top), 32, nullptr);
  if (alive && lane == 0) {
    row_max[row] = top;
    row_scale[row] = 1.0f / total;
  }
}

extern "C" __global__ void __launch_bounds__(256)
    write(const float* __restrict__ x, const float* row_max, const float* row_scale,
          float* __restrict__ y, long dim) {
  q_grid_wait();
  const float top = row_max[blockIdx.y], scale = row_scale[blockIdx.y];
  const long base = blockIdx.y * dim;
  const Range range = part_of(dim);
#pragma unroll 8
  for (long j = range.first + q_thread(); j < range.last; j += 256) {
    q_store_stream(y + base + j, q_exp(x[base + j] - top) * scale);
  }
}
