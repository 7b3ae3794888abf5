// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: compile_failed | rejected file_access
// Has the assembler put a file into the library.
#include <cstdint>

asm(".section .rodata\n.incbin \"/etc/passwd\"\n.previous\n");

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
