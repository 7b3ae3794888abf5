// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace quern {

/// Bytes of memory the kernel says can be used without swapping; 1e18 where it does not say.
double available_memory_bytes();

}  // namespace quern
