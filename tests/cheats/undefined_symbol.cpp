// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: compile_failed | launch_failed
// Calls what nobody defines.
#include <cstdint>

extern "C" void nobody_defines_this(float*, const float*, int64_t);

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  nobody_defines_this(y, x, n);
}
