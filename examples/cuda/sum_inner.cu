// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/sum_inner.task: a warp a row. Rows begin at any multiple of 4 bytes, so the
// warp reads up to a boundary of 16 bytes, then in vectors, then the rest.
// quern: target = cuda
// quern: launch sum_rows grid (ceil_div(rows, 8)) block (256) args (x, y, i64(rows), i64(dim))
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(256)
    sum_rows(const float* __restrict__ x, float* __restrict__ y, long rows, long dim) {
  const long row = q_block() * 8 + q_thread() / 32;
  const int lane = q_thread() % 32;
  if (row >= rows) return;
  const float* in = x + row * dim;
  long head = (16 - (reinterpret_cast<unsigned long>(in) & 15)) / 4 % 4;
  if (head > dim) head = dim;
  float sum[4] = {lane < head ? in[lane] : 0.0f, 0.0f, 0.0f, 0.0f};
  const long whole = (dim - head) / 4 * 4;
#pragma unroll 8
  for (long j = lane * 4; j < whole; j += 128) {
    float v[4];
    q_load4(v, in + head + j);
    for (int e = 0; e < 4; ++e) sum[e] += v[e];
  }
  const long tail = head + whole + lane;
  if (tail < dim) sum[1] += in[tail];
  const float total = q_reduce_sum((sum[0] + sum[1]) + (sum[2] + sum[3]), 32, nullptr);
  if (lane == 0) y[row] = total;
}
