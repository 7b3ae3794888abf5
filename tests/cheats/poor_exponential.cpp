// SPDX-License-Identifier: Apache-2.0
// task: softmax
// expect: wrong_result
// An exponential that is right to three digits.
#include <cstdint>

static float poor_exp(float v) {
  float r = 1 + v / 256;
  for (int i = 0; i < 8; ++i) r *= r;
  return v < -256 ? 0 : r;
}

extern "C" void softmax(int64_t batch, int64_t dim, const float* x, float* y) {
  for (int64_t i = 0; i < batch; ++i) {
    float top = x[i * dim], sum = 0;
    for (int64_t j = 1; j < dim; ++j) top = x[i * dim + j] > top ? x[i * dim + j] : top;
    for (int64_t j = 0; j < dim; ++j) sum += y[i * dim + j] = poor_exp(x[i * dim + j] - top);
    for (int64_t j = 0; j < dim; ++j) y[i * dim + j] /= sum;
  }
}
