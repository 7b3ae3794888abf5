// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected early_done | rejected stale_output | wrong_result
// A thread behind its back keeps writing after the call.
#include <atomic>
#include <cstdint>
#include <thread>

static std::atomic<float*> target;
static std::atomic<int64_t> writes;

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
  if (!target.exchange(y)) {
    std::thread([] {
      for (;; ++writes) *target.load() = 12345;
    }).detach();
  }
  while (writes == 0) {
  }
}
