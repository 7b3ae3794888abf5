// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/relu.task: one pass, 16 bytes an access, four accesses a thread under way.
// quern: target = cuda
// quern: launch relu grid (ceil_div(batch * dim, 4096)) block (256) args (x, y, i64(batch * dim))
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(256)
    relu(const float* __restrict__ x, float* __restrict__ y, long count) {
  const long first = q_block() * 4096 + q_thread() * 4;
  float v[4][4];
  if (first + 3 * 1024 + 3 < count) {
#pragma unroll
    for (int u = 0; u < 4; ++u) q_load4(v[u], x + first + u * 1024);
#pragma unroll
    for (int u = 0; u < 4; ++u) {
      for (float& e : v[u]) e = q_max(e, 0.0f);
      q_store4_stream(y + first + u * 1024, v[u]);
    }
    return;
  }
  for (int u = 0; u < 4; ++u) {
    for (int e = 0; e < 4; ++e) {
      const long i = first + u * 1024 + e;
      if (i < count) y[i] = q_max(x[i], 0.0f);
    }
  }
}
