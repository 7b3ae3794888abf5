// SPDX-License-Identifier: Apache-2.0
// task: softmax
// expect: rejected nondeterministic | wrong_result
// One unit in the last place by the clock's last bit.
#include <cmath>
#include <cstdint>

extern "C" void softmax(int64_t batch, int64_t dim, const float* x, float* y) {
  for (int64_t i = 0; i < batch; ++i) {
    float top = x[i * dim], sum = 0;
    for (int64_t j = 1; j < dim; ++j) top = x[i * dim + j] > top ? x[i * dim + j] : top;
    for (int64_t j = 0; j < dim; ++j) sum += y[i * dim + j] = std::exp(x[i * dim + j] - top);
    for (int64_t j = 0; j < dim; ++j) y[i * dim + j] /= sum;
  }
  for (int64_t i = 0; i < batch * dim; ++i) {
    if (__builtin_ia32_rdtsc() & 1) y[i] *= 1.0000001f;
  }
}
