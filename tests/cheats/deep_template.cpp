// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: compile_failed
// Recurs deeper than a compiler allows.
#include <cstdint>

template <int depth>
struct Deep {
  static constexpr float value = Deep<depth - 1>::value + 1;
};
template <>
struct Deep<0> {
  static constexpr float value = 0;
};

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  y[0] = Deep<100000>::value + x[0] + static_cast<float>(n);
}
