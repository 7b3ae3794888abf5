// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/argmax.task: a thread a column, sixteen rows under way; among equals the
// first row wins.
// quern: target = cuda
// quern: launch argmax grid (ceil_div(dim, 128), batch) block (128)
// quern:   args (x, y, i64(rows), i64(dim))
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(128)
    argmax(const float* __restrict__ x, long* __restrict__ y, long rows, long dim) {
  const long column = q_block() * 128 + q_thread();
  if (column >= dim) return;
  const float* in = x + blockIdx.y * rows * dim + column;
  float best = -Q_INFINITY;
  int at = 0, i = 0;
  for (; i + 15 < rows; i += 16) {
    float v[16];
#pragma unroll
    for (int u = 0; u < 16; ++u) v[u] = in[(i + u) * dim];
#pragma unroll
    for (int u = 0; u < 16; ++u) {
      if (v[u] > best) best = v[u], at = i + u;
    }
  }
  for (; i < rows; ++i) {
    const float v = in[i * dim];
    if (v > best) best = v, at = i;
  }
  y[blockIdx.y * dim + column] = at;
}
