// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace quern {

/// Bytes of memory the kernel says can be used without swapping; 1e18 where it does not say.
double available_memory_bytes();

/// Keeps this process from taking more addresses than that. Does nothing under a sanitizer, which
/// reserves terabytes of them.
void limit_address_space(uint64_t bytes);

}  // namespace quern
