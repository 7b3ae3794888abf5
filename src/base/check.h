// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace quern {

/// Prints the broken invariant with its place to stderr and aborts.
[[noreturn]] void check_failed(const char* condition, const char* message, const char* file,
                               int line);

}  // namespace quern

/// States an invariant of ours: never reachable from input. Prints and aborts when it is broken.
#define QUERN_CHECK(condition, message)                               \
  do {                                                                \
    if (!(condition)) {                                               \
      ::quern::check_failed(#condition, message, __FILE__, __LINE__); \
    }                                                                 \
  } while (false)
