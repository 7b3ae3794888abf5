// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/cross_entropy.task: a block a row gives the loss of each sample, one block
// adds them up.
// quern: target = cuda
// quern: scratch losses : f32[batch]
// quern: launch sample grid (batch) block (256) args (x, t, losses, i64(classes))
// quern: launch mean grid (1) block (1024) args (losses, loss, i64(batch)) programmatic
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(256)
    sample(const float* __restrict__ x, const long* __restrict__ t, float* __restrict__ losses,
           long classes) {
  __shared__ float scratch[32];
  q_grid_ready();
  const float* row = x + q_block() * classes;
  float most = -Q_INFINITY, sum = 0.0f;
#pragma unroll 8
  for (long j = q_thread(); j < classes; j += 256) most = q_max(most, row[j]);
  most = q_reduce_max(most, 256, scratch);
#pragma unroll 8
  for (long j = q_thread(); j < classes; j += 256) sum += q_exp(row[j] - most);
  sum = q_reduce_sum(sum, 256, scratch);
  if (q_thread() == 0) losses[q_block()] = q_log(sum) + most - row[t[q_block()]];
}

extern "C" __global__ void __launch_bounds__(1024)
    mean(const float* losses, float* __restrict__ loss, long batch) {
  __shared__ float scratch[32];
  q_grid_wait();
  float sum = 0.0f;
  for (long i = q_thread(); i < batch; i += 1024) sum += losses[i];
  sum = q_reduce_sum(sum, 1024, scratch);
  if (q_thread() == 0) *loss = sum / batch;
}
