// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <type_traits>

#include "search/select.h"

namespace quern {

/// `SelectorInfo::make` of a class that is made of its settings, or of nothing.
template <class Made>
std::unique_ptr<Selector> made(const SelectorSettings& settings) {
  if constexpr (std::is_constructible_v<Made, const SelectorSettings&>) {
    return std::make_unique<Made>(settings);
  } else {
    return std::make_unique<Made>();
  }
}

/// The same of a class that chooses among strategies: null without any.
template <class Made>
std::unique_ptr<Selector> made_of_strategies(const SelectorSettings& settings) {
  if (settings.strategies.empty()) return nullptr;
  return made<Made>(settings);
}

/// The rows that each file of selectors contributes to the table.
std::vector<SelectorInfo> plain_selectors();
std::vector<SelectorInfo> tree_selectors();
std::vector<SelectorInfo> bandit_selectors();
std::vector<SelectorInfo> population_selectors();

}  // namespace quern
