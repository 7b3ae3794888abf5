// SPDX-License-Identifier: Apache-2.0
// task: softmax
// expect: rejected early_done | rejected stale_output | wrong_result
// Returns at once and leaves the work to a thread behind its back.
#include <cmath>
#include <cstdint>
#include <thread>

extern "C" void softmax(int64_t batch, int64_t dim, const float* x, float* y) {
  std::thread([=] {
    for (int64_t i = 0; i < batch; ++i) {
      float top = x[i * dim], sum = 0;
      for (int64_t j = 1; j < dim; ++j) top = x[i * dim + j] > top ? x[i * dim + j] : top;
      for (int64_t j = 0; j < dim; ++j) sum += y[i * dim + j] = std::exp(x[i * dim + j] - top);
      for (int64_t j = 0; j < dim; ++j) y[i * dim + j] /= sum;
    }
  }).detach();
}
