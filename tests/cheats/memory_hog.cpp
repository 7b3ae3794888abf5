// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: crashed | rejected memory
// Takes memory until there is none, a byte touched in each block.
#include <cstdint>
#include <cstdlib>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  for (;;) {
    char* block = static_cast<char*>(std::malloc(int64_t{1} << 28));
    block[0] = 1;
    asm volatile("" : : "r"(block) : "memory");
  }
}
