// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: timed_out
// Never returns, at full speed.
#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  volatile float* out = y;
  for (;;) out[0] = x[0] + static_cast<float>(n);
}
