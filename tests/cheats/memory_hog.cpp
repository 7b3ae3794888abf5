// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: crashed | rejected memory
// Takes memory until there is none.
#include <cstdint>
#include <cstdlib>
#include <cstring>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  for (;;) {
    char* block = static_cast<char*>(std::malloc(int64_t{1} << 28));
    std::memset(block, 1, int64_t{1} << 28);
    asm volatile("" : : "r"(block) : "memory");
  }
}
