// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/cumsum.task: a block a row, 4096 elements at a time: in a thread, then across
// threads, then the carry of what came before. The next elements are fetched meanwhile.
// quern: target = cuda
// quern: launch cumsum grid (batch) block (1024) args (x, y, i64(dim))
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(1024)
    cumsum(const float* __restrict__ x, float* __restrict__ y, long dim) {
  __shared__ float scratch[32];
  const float* in = x + q_block() * dim;
  float* out = y + q_block() * dim;
  const bool vectors = dim % 4 == 0;
  auto fetch = [&](float* v, long j) {
    if (vectors && j < dim) return q_load4(v, in + j);
    for (int e = 0; e < 4; ++e) v[e] = j + e < dim ? in[j + e] : 0.0f;
  };
  float carry = 0.0f, v[4], next[4];
  fetch(v, q_thread() * 4);
  for (long base = 0; base < dim; base += 4096) {
    const long j = base + q_thread() * 4;
    fetch(next, j + 4096);
    v[1] += v[0], v[2] += v[1], v[3] += v[2];
    float total;
    const float before = carry + q_scan_sum(v[3], 0.0f, 1024, scratch, &total);
    carry += total;
    for (float& e : v) e += before;
    if (vectors && j < dim) {
      q_store4_stream(out + j, v);
    } else {
      for (int e = 0; e < 4; ++e) {
        if (j + e < dim) out[j + e] = v[e];
      }
    }
    for (int e = 0; e < 4; ++e) v[e] = next[e];
  }
}
