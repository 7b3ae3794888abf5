// SPDX-License-Identifier: Apache-2.0
#include "evaluate/cache_hints.h"

#include <algorithm>
#include <array>

namespace quern {

bool may_ask_caches(std::string_view text) {
  static constexpr std::array<std::string_view, 6> kWords = {
      "evict_last", "EVICT_LAST", "cache_hint", "createpolicy", "access_property", "persisting"};
  return std::ranges::any_of(kWords,
                             [&](std::string_view word) { return text.find(word) != text.npos; });
}

}  // namespace quern
