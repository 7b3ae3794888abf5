// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/layer_norm.task: a block a row, the row in shared memory, so that it is read
// once; mean, then variance about it.
// quern: target = cuda
// quern: launch layer_norm grid (rows) block (256) shared (4 * dim)
// quern:   args (x, gamma, beta, y, i32(dim))
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(256)
    layer_norm(const float* __restrict__ x, const float* __restrict__ gamma,
               const float* __restrict__ beta, float* __restrict__ y, int dim) {
  extern __shared__ __align__(16) float row[];
  __shared__ float scratch[32];
  const float* in = x + q_block() * dim;
  float* out = y + q_block() * dim;
  const bool vectors = dim % 4 == 0;
  float sum = 0.0f, squares = 0.0f;
  if (vectors) {
#pragma unroll 4
    for (int j = q_thread() * 4; j < dim; j += 1024) {
      float v[4];
      q_load4(v, in + j);
      q_store4(row + j, v);
      sum += (v[0] + v[1]) + (v[2] + v[3]);
    }
  } else {
    for (int j = q_thread(); j < dim; j += 256) sum += row[j] = in[j];
  }
  const float mean = q_reduce_sum(sum, 256, scratch) / dim;
  for (int j = q_thread(); j < dim; j += 256) {
    const float d = row[j] - mean;
    squares += d * d;
  }
  const float scale = q_rsqrt(q_reduce_sum(squares, 256, scratch) / dim + 1e-5f);
  if (vectors) {
#pragma unroll 4
    for (int j = q_thread() * 4; j < dim; j += 1024) {
      float v[4], g[4], b[4];
      q_load4(v, row + j);
      q_load4(g, gamma + j);
      q_load4(b, beta + j);
      for (int e = 0; e < 4; ++e) v[e] = (v[e] - mean) * scale * g[e] + b[e];
      q_store4_stream(out + j, v);
    }
  } else {
    for (int j = q_thread(); j < dim; j += 256) {
      out[j] = (row[j] - mean) * scale * gamma[j] + beta[j];
    }
  }
}
