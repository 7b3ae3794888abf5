// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern {

/// Edit distance: insertions, deletions, substitutions and swaps of neighbours, one each.
int edit_distance(std::string_view a, std::string_view b);

/// The known word nearest to a misspelt one, or "" when none is near (a third of its letters, and
/// at least one edit). The first of equally near words wins.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

/// "did you mean 'softmax'?", or "" when nothing is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

/// The hint for a word that is not known: `did_you_mean`, else "known: a, b", or "none is known".
std::string suggest(std::string_view word, const std::vector<std::string>& known);

}  // namespace quern
