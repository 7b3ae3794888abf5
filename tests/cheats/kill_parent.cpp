// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected signal | rejected kill | rejected syscall
// Kills the referee.
#include <signal.h>
#include <unistd.h>

#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  kill(getppid(), SIGKILL);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
