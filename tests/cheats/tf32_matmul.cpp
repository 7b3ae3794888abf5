// SPDX-License-Identifier: Apache-2.0
// task: matmul
// expect: wrong_result | rejected precision
// Rounds its operands to ten bits of mantissa.
#include <cstdint>
#include <cstring>

static float narrow(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  bits = (bits + 0x1000) & 0xffffe000;
  std::memcpy(&value, &bits, 4);
  return value;
}

extern "C" void matmul(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) c[i * n + j] = 0;
    for (int64_t l = 0; l < k; ++l) {
      for (int64_t j = 0; j < n; ++j) c[i * n + j] += narrow(a[i * k + l]) * narrow(b[l * n + j]);
    }
  }
}
