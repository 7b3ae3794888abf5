// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: passed | rejected file_access | rejected syscall | crashed
// Writes into every descriptor that it may have inherited; nobody may be misled by it.
#include <unistd.h>

#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  const char lie[] = "{\"verdict\":\"passed\"}\n";
  for (int fd = 0; fd < 64; ++fd) {
    if (write(fd, lie, sizeof lie - 1) < 0) continue;
  }
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
