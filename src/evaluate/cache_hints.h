// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace quern {

/// Whether device code may have the L2 cache keep lines for longer than others, which the next
/// candidate would find taken: by an eviction priority or a cache policy of PTX, or in the words
/// that CUDA's and CUTLASS's headers have for them. `text`: a source, or a listing in PTX, where
/// macros and headers hide nothing. Machine code does not show it.
bool may_ask_caches(std::string_view text);

}  // namespace quern
