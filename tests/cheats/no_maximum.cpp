// SPDX-License-Identifier: Apache-2.0
// task: softmax
// expect: wrong_result
// Does not subtract the maximum: overflows for large inputs.
#include <cmath>
#include <cstdint>

extern "C" void softmax(int64_t batch, int64_t dim, const float* x, float* y) {
  for (int64_t i = 0; i < batch; ++i) {
    float sum = 0;
    for (int64_t j = 0; j < dim; ++j) sum += y[i * dim + j] = std::exp(x[i * dim + j]);
    for (int64_t j = 0; j < dim; ++j) y[i * dim + j] /= sum;
  }
}
