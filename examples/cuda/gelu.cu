// SPDX-License-Identifier: Apache-2.0
// Candidate for tasks/gelu.task: resident blocks walk the tensor, two vectors a thread under way.
// quern: target = cuda
// quern: launch gelu grid (min(2112, ceil_div(batch * dim, 2048))) block (256)
// quern:   args (x, y, i64(batch * dim))
#include "quern_cuda.h"

Q_INLINE float gelu_of(float x) { return 0.5f * x * (1.0f + q_erf(x * 0.70710678118654752f)); }

extern "C" __global__ void __launch_bounds__(256)
    gelu(const float* __restrict__ x, float* __restrict__ y, long count) {
  const long step = q_blocks() * 2048;
  for (long base = q_block() * 2048; base < count; base += step) {
    const long first = base + q_thread() * 4, second = first + 1024;
    if (second + 3 < count) {
      float a[4], b[4];
      q_load4(a, x + first);
      q_load4(b, x + second);
      for (float& e : a) e = gelu_of(e);
      for (float& e : b) e = gelu_of(e);
      q_store4_stream(y + first, a);
      q_store4_stream(y + second, b);
      continue;
    }
    for (int e = 0; e < 4; ++e) {
      if (first + e < count) y[first + e] = gelu_of(x[first + e]);
      if (second + e < count) y[second + e] = gelu_of(x[second + e]);
    }
  }
}
