// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace quern {

void check_failed(const char* condition, const char* message, const char* file, int line) {
  std::fprintf(stderr, "quern: bug: %s (%s) at %s:%d\n", message, condition, file, line);
  std::abort();
}

}  // namespace quern
