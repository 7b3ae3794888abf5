// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: compile_failed
// Keeps the compiler busy for ever.
#include <cstdint>

template <int depth, long path = 0>
struct Twice {
  static constexpr float value = Twice<depth - 1, path * 2>::value + Twice<depth - 1, path * 2 + 1>::value;
};
template <long path>
struct Twice<0, path> {
  static constexpr float value = path;
};

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  y[0] = Twice<40>::value + x[0] + static_cast<float>(n);
}
