// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected exec
// Becomes another program.
#include <unistd.h>

#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  char shell[] = "/bin/sh", flag[] = "-c", command[] = "exit 0";
  char* arguments[] = {shell, flag, command, nullptr};
  execv(shell, arguments);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
