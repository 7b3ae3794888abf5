// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern {

/// The candidate a misspelt `word` most likely means: the one at the smallest edit distance, if
/// that is small for the word's length. "" when nothing is close; ties go to the earlier one.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace quern
