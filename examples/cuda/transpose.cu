// SPDX-License-Identifier: Apache-2.0
// Candidate for transpose.task beside it: tiles of 32 by 32 pass through shared memory, so that
// both sides are read and written along rows. A pad keeps columns off one bank.
// quern: target = cuda
// quern: launch transpose grid (ceil_div(columns, 32), ceil_div(rows, 32)) block (32, 8)
// quern:   args (x, y, i64(rows), i64(columns))
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(256)
    transpose(const float* __restrict__ x, float* __restrict__ y, long rows, long columns) {
  __shared__ float tile[32][33];
  const long i0 = blockIdx.y * 32, j0 = blockIdx.x * 32;
#pragma unroll
  for (int r = threadIdx.y; r < 32; r += 8) {
    const long i = i0 + r, j = j0 + threadIdx.x;
    if (i < rows && j < columns) tile[r][threadIdx.x] = x[i * columns + j];
  }
  __syncthreads();
#pragma unroll
  for (int r = threadIdx.y; r < 32; r += 8) {
    const long j = j0 + r, i = i0 + threadIdx.x;
    if (i < rows && j < columns) q_store_stream(y + j * rows + i, tile[threadIdx.x][r]);
  }
}
