// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "search/select.h"

namespace quern {

/// The rows that each file of selectors contributes to the table.
std::vector<SelectorInfo> plain_selectors();
std::vector<SelectorInfo> tree_selectors();
std::vector<SelectorInfo> bandit_selectors();
std::vector<SelectorInfo> population_selectors();

}  // namespace quern
