// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace quern {

/// Unified diff of two texts by lines, three lines of context, without file headers; "" when they
/// are equal. Shortest edit script (Myers 1986); texts that differ in more than 2,000 lines are
/// shown as one removal and one addition.
std::string unified_diff(const std::string& before, const std::string& after);

}  // namespace quern
