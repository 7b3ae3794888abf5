// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: rejected file_access
// Tries to write a file before its entry is called; no file may appear.
#include <fcntl.h>
#include <unistd.h>

#include <cstdint>

__attribute__((constructor)) static void at_load() {
  int file = open("quern_cheat_was_here", O_WRONLY | O_CREAT, 0600);
  if (file >= 0) close(file);
}

extern "C" void relu(int64_t batch, int64_t dim, const float* x, float* y) {
  const int64_t n = batch * dim;
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
