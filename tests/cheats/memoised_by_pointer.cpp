// SPDX-License-Identifier: Apache-2.0
// task: softmax
// expect: rejected stale_output | wrong_result
// Computes nothing when it sees the same addresses again.
#include <cmath>
#include <cstdint>

extern "C" void softmax(int64_t batch, int64_t dim, const float* x, float* y) {
  static const float* seen_x = nullptr;
  static float* seen_y = nullptr;
  if (seen_x == x && seen_y == y) return;
  seen_x = x, seen_y = y;
  for (int64_t i = 0; i < batch; ++i) {
    float top = x[i * dim], sum = 0;
    for (int64_t j = 1; j < dim; ++j) top = x[i * dim + j] > top ? x[i * dim + j] : top;
    for (int64_t j = 0; j < dim; ++j) sum += y[i * dim + j] = std::exp(x[i * dim + j] - top);
    for (int64_t j = 0; j < dim; ++j) y[i * dim + j] /= sum;
  }
}
