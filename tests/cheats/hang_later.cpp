// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: timed_out
// Answers a few calls, then hangs.
#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  static int calls = 0;
  volatile int one = 1;
  while (++calls > 20 && one) {
  }
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
