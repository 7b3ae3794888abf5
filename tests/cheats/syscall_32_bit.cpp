// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected fork | rejected syscall | crashed
// Asks the kernel through the 32-bit door.
#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  long result = 2;
  asm volatile("int $0x80" : "+a"(result) : : "memory");
  if (result == 0) asm volatile("int $0x80" : : "a"(1), "b"(0));
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
