// SPDX-License-Identifier: Apache-2.0
// task: softmax
// expect: wrong_result
// Writes the mean of what is expected.
#include <cstdint>

extern "C" void softmax(int64_t batch, int64_t dim, const float* x, float* y) {
  for (int64_t i = 0; i < batch * dim; ++i) y[i] = 1.0f / static_cast<float>(dim);
  (void)x;
}
