// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected fork
// Starts a process without the C library.
#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  long child = 57;
  asm volatile("syscall" : "+a"(child) : : "rcx", "r11", "memory");
  if (child == 0) asm volatile("syscall" : : "a"(231), "D"(0) : "rcx", "r11");
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
