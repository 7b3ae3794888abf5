// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: crashed | rejected out_of_bounds_read
// Reads a page behind its input.
#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  float beyond = *const_cast<const volatile float*>(x + n + 1024);
  asm volatile("" : : "x"(beyond));
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
