// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected out_of_bounds_write | rejected signal | rejected syscall | crashed
// Hides a write out of bounds behind a signal handler.
#include <setjmp.h>
#include <signal.h>

#include <cstdint>

static sigjmp_buf back;

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
  struct sigaction action = {};
  action.sa_handler = [](int) { siglongjmp(back, 1); };
  sigaction(SIGSEGV, &action, nullptr);
  if (sigsetjmp(back, 1) == 0) y[n + 100000000] = 0;
}
