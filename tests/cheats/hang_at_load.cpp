// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: timed_out
// Never returns from a constructor of the library.
#include <cstdint>

__attribute__((constructor)) static void at_load() {
  volatile int one = 1;
  while (one) {
  }
}

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
