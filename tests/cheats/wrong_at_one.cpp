// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: wrong_result
// Wrong where the input is exactly one.
#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] == 1 ? 2 : x[i] > 0 ? x[i] : 0;
}
