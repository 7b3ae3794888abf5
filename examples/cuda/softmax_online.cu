// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/softmax.task: a block a row; maximum and sum of exponentials in one pass.
// quern: target = cuda
// quern: launch softmax grid (batch) block (1024) args (x, y, i64(dim))
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(1024)
    softmax(const float* __restrict__ x, float* __restrict__ y, long dim) {
  __shared__ float scratch[32];
  const float* row = x + q_block() * dim;
  float* out = y + q_block() * dim;
  const bool vectors = dim % 4 == 0;
  float most = -Q_INFINITY, sum = 0.0f;
  auto take = [&](const float* v, int n) {
    float greatest = most;
    for (int e = 0; e < n; ++e) greatest = q_max(greatest, v[e]);
    if (greatest > most) {
      sum *= q_exp(most - greatest);
      most = greatest;
    }
    for (int e = 0; e < n; ++e) sum += q_exp(v[e] - most);
  };
  if (vectors) {
#pragma unroll 4
    for (long j = q_thread() * 4; j < dim; j += 4096) {
      float v[4];
      q_load4(v, row + j);
      take(v, 4);
    }
  } else {
    for (long j = q_thread(); j < dim; j += 1024) take(row + j, 1);
  }
  const float top = q_reduce_max(most, 1024, scratch);
  const float total = q_reduce_sum(sum * q_exp(most - top), 1024, scratch);
  const float scale = 1.0f / total;
  if (vectors) {
#pragma unroll 4
    for (long j = q_thread() * 4; j < dim; j += 4096) {
      float v[4];
      q_load4(v, row + j);
      for (float& e : v) e = q_exp(e - top) * scale;
      q_store4_stream(out + j, v);
    }
  } else {
    for (long j = q_thread(); j < dim; j += 1024) out[j] = q_exp(row[j] - top) * scale;
  }
}
