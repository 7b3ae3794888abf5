// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: crashed
// Recurs without end.
#include <cstdint>

__attribute__((noinline)) static float deeper(const float* x, int64_t n) {
  volatile char frame[4096];
  frame[n % 4096] = static_cast<char>(n);
  return n == -1 ? 0 : deeper(x, n + 1) + frame[0] + x[0];
}

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  y[0] = deeper(x, n);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
