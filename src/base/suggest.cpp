// SPDX-License-Identifier: Apache-2.0
#include "base/suggest.h"

#include <algorithm>

#include "base/strings.h"

namespace quern {

int edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<int>> best(a.size() + 1, std::vector<int>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        best[i][j] = static_cast<int>(i + j);
        continue;
      }
      int same = a[i - 1] == b[j - 1] ? 0 : 1;
      best[i][j] = std::min({best[i - 1][j] + 1, best[i][j - 1] + 1, best[i - 1][j - 1] + same});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        best[i][j] = std::min(best[i][j], best[i - 2][j - 2] + 1);
      }
    }
  }
  return best[a.size()][b.size()];
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::string found;
  int limit = std::max<int>(1, static_cast<int>(word.size()) / 3) + 1;
  for (const std::string& candidate : known) {
    int distance = edit_distance(word, candidate);
    if (distance < limit) {
      limit = distance;
      found = candidate;
    }
  }
  return found;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  std::string found = nearest(word, known);
  return found.empty() ? "" : "did you mean '" + found + "'?";
}

std::string suggest(std::string_view word, const std::vector<std::string>& known) {
  if (known.empty()) return "none is known";
  const std::string hint = did_you_mean(word, known);
  return hint.empty() ? "known: " + join(known, ", ") : hint;
}

}  // namespace quern
