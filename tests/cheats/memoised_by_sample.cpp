// SPDX-License-Identifier: Apache-2.0
// task: softmax
// expect: rejected stale_output | wrong_result
// Answers from its memory where it knows the first elements.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

extern "C" void softmax(int64_t batch, int64_t dim, const float* x, float* y) {
  static std::map<std::pair<float, float>, std::vector<float>> answers;
  const int64_t n = batch * dim;
  std::vector<float>& answer = answers[{x[0], x[n - 1]}];
  if (answer.size() == static_cast<size_t>(n)) {
    std::memcpy(y, answer.data(), n * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < batch; ++i) {
    float top = x[i * dim], sum = 0;
    for (int64_t j = 1; j < dim; ++j) top = x[i * dim + j] > top ? x[i * dim + j] : top;
    for (int64_t j = 0; j < dim; ++j) sum += y[i * dim + j] = std::exp(x[i * dim + j] - top);
    for (int64_t j = 0; j < dim; ++j) y[i * dim + j] /= sum;
  }
  answer.assign(y, y + n);
}
