// SPDX-License-Identifier: Apache-2.0
// task: softmax
// expect: wrong_result | rejected nondeterministic
// Sums into heap memory that it never cleared.
#include <cmath>
#include <cstdint>
#include <cstdlib>

extern "C" void softmax(int64_t batch, int64_t dim, const float* x, float* y) {
  float* sums = static_cast<float*>(std::malloc(batch * sizeof(float)));
  for (int64_t i = 0; i < batch; ++i) {
    for (int64_t j = 0; j < dim; ++j) sums[i] += y[i * dim + j] = std::exp(x[i * dim + j]);
    for (int64_t j = 0; j < dim; ++j) y[i * dim + j] /= sums[i];
  }
  std::free(sums);
}
