// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected early_done | rejected stale_output | wrong_result
// A thread behind its back keeps writing after the call.
#include <cstdint>
#include <thread>

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  static std::thread* writer = nullptr;
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
  if (!writer) {
    writer = new std::thread([=] {
      for (;;) *const_cast<volatile float*>(y) = x[0] > 0 ? x[0] : 1;
    });
  }
}
