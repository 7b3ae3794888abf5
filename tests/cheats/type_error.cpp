// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: compile_failed
// Has a type error.
#include <cstdint>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  int wrong = "text";
}
