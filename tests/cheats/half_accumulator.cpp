// SPDX-License-Identifier: Apache-2.0
// task: matmul
// expect: wrong_result | rejected precision
// Accumulates in half precision.
#include <immintrin.h>

#include <cstdint>

__attribute__((target("f16c"))) static float narrow(float value) {
  return _cvtsh_ss(_cvtss_sh(value, 0));
}

extern "C" void matmul(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (int64_t l = 0; l < k; ++l) sum = narrow(sum + a[i * k + l] * b[l * n + j]);
      c[i * n + j] = sum;
    }
  }
}
