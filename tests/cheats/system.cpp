// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected fork | rejected exec
// Runs a shell command.
#include <cstdint>
#include <cstdlib>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  if (std::system("true") == 77) y[0] = 77;
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
