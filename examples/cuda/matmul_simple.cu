// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/matmul.task: a thread an element, tiles of 16 by 16 in shared memory.
// quern: target = cuda
// quern: launch matmul grid (ceil_div(n, 16), ceil_div(m, 16)) block (16, 16)
// quern:   args (a, b, c, i64(m), i64(n), i64(k))
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(256)
    matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, long m,
           long n, long k) {
  __shared__ float left[16][16], right[16][16];
  const int tx = threadIdx.x, ty = threadIdx.y;
  const long i = blockIdx.y * 16 + ty, j = blockIdx.x * 16 + tx;
  float sum = 0.0f;
  for (long p = 0; p < k; p += 16) {
    left[ty][tx] = i < m && p + tx < k ? a[i * k + p + tx] : 0.0f;
    right[ty][tx] = j < n && p + ty < k ? b[(p + ty) * n + j] : 0.0f;
    __syncthreads();
#pragma unroll
    for (int q = 0; q < 16; ++q) sum += left[ty][q] * right[q][tx];
    __syncthreads();
  }
  if (i < m && j < n) c[i * n + j] = sum;
}
