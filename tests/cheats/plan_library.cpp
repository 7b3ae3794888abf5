// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: compile_failed | launch_failed | rejected library
// Asks for a library that only baselines may use.
// quern: libraries = openblas
#include <cstdint>

extern "C" void cblas_sscal(int, float, float*, int);

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
  cblas_sscal(1, 1, y, 1);
}
