// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/max_pool2d.task (window 4, step 1, padding 1): a thread takes eight results
// one below the other, so that eleven rows serve them; neighbouring threads share columns in L1.
// quern: target = cuda
// quern: launch max_pool grid (ceil_div(width - 1, 128), ceil_div(height - 1, 8), batch * channels)
// quern:   block (128) args (x, y, i32(height), i32(width))
#include "quern_cuda.h"

extern "C" __global__ void __launch_bounds__(128)
    max_pool(const float* __restrict__ x, float* __restrict__ y, int height, int width) {
  const int out_height = height - 1, out_width = width - 1;
  const int column = blockIdx.x * 128 + q_thread(), row = blockIdx.y * 8;
  if (column >= out_width) return;
  const float* in = x + static_cast<long>(blockIdx.z) * height * width;
  float* out = y + static_cast<long>(blockIdx.z) * out_height * out_width;
  float across[11];
#pragma unroll
  for (int r = 0; r < 11; ++r) {
    const int i = row - 1 + r;
    across[r] = -Q_INFINITY;
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const int j = column - 1 + s;
      const bool inside = q_inside(i, height) && q_inside(j, width);
      if (inside) across[r] = q_max(across[r], in[static_cast<long>(i) * width + j]);
    }
  }
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    const float most = q_max(q_max(across[r], across[r + 1]), q_max(across[r + 2], across[r + 3]));
    if (row + r < out_height) q_store_stream(out + (row + r) * static_cast<long>(out_width) + column, most);
  }
}
