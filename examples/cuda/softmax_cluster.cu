// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/softmax.task: a cluster of eight blocks holds a row in its shared memory, so
// that it is read once; the blocks exchange maxima and sums through distributed shared memory.
// quern: target = cuda
// quern: launch softmax grid (8, batch) block (1024) cluster (8, 1)
// quern:   shared (4 * round_up(ceil_div(dim, 8), 4)) args (x, y, i64(dim))
#include "quern_cuda.h"

/// `mine` of all eight blocks, in order. Every block waits until the others have read it.
Q_INLINE void gather(float* mine, float value, float all[8]) {
  if (q_thread() == 0) *mine = value;
  q_cluster_barrier();
#pragma unroll
  for (unsigned rank = 0; rank < 8; ++rank) all[rank] = q_cluster_load(mine, rank);
  q_cluster_barrier();
}

extern "C" __global__ void __launch_bounds__(1024)
    softmax(const float* __restrict__ x, float* __restrict__ y, long dim) {
  extern __shared__ __align__(16) float part[];
  __shared__ float scratch[32], mine;
  const long share = ((dim + 7) / 8 + 3) / 4 * 4;
  const long start = q_cluster_rank() * share;
  const long end = start + share < dim ? start + share : dim;
  const int count = start < end ? static_cast<int>(end - start) : 0;
  const float* row = x + blockIdx.y * dim + start;
  float* out = y + blockIdx.y * dim + start;
  const bool vectors = dim % 4 == 0;
  float most = -Q_INFINITY, sum = 0.0f, all[8];
  if (vectors) {
    for (int j = q_thread() * 4; j < count; j += 4096) q_copy16(part + j, row + j);
  } else {
    for (int j = q_thread(); j < count; j += 1024) q_copy4(part + j, row + j);
  }
  q_copy_commit();
  q_copy_wait<0>();
  __syncthreads();
  for (int j = q_thread(); j < count; j += 1024) most = q_max(most, part[j]);
  gather(&mine, q_reduce_max(most, 1024, scratch), all);
#pragma unroll
  for (int rank = 0; rank < 8; ++rank) most = q_max(most, all[rank]);
  for (int j = q_thread(); j < count; j += 1024) {
    part[j] = q_exp(part[j] - most);
    sum += part[j];
  }
  gather(&mine, q_reduce_sum(sum, 1024, scratch), all);
  float total = 0.0f;
#pragma unroll
  for (int rank = 0; rank < 8; ++rank) total += all[rank];
  const float scale = 1.0f / total;
  if (vectors) {
    for (int j = q_thread() * 4; j < count; j += 4096) {
      float v[4];
      q_load4(v, part + j);
      for (float& e : v) e *= scale;
      q_store4_stream(out + j, v);
    }
  } else {
    for (int j = q_thread(); j < count; j += 1024) out[j] = part[j] * scale;
  }
}
