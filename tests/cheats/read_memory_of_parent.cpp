// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected file_access | rejected ptrace
// Looks for the answers in the referee's memory.
#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/mem", static_cast<int>(getppid()));
  int memory = open(path, O_RDWR);
  if (memory >= 0) close(memory);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
