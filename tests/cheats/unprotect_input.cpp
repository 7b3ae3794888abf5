// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected modified_input | rejected syscall
// Makes its input writable first.
#include <sys/mman.h>

#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  const uintptr_t page = reinterpret_cast<uintptr_t>(x) & ~uintptr_t{4095};
  mprotect(reinterpret_cast<void*>(page), 4096, PROT_READ | PROT_WRITE);
  const_cast<float*>(x)[0] = 0;
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
