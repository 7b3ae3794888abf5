// SPDX-License-Identifier: Apache-2.0
#include "store/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace quern {
namespace {

using Lines = std::vector<std::string_view>;

struct Edit {
  char mark;  ///< ' ' kept, '-' removed, '+' added
  std::string_view line;
};

Lines split_lines(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// The furthest-reaching frontiers of each edit distance up to the first that reaches the end;
/// empty when that is beyond `limit`.
std::vector<std::vector<int>> frontiers(const Lines& a, const Lines& b, int limit) {
  const int n = static_cast<int>(a.size()), m = static_cast<int>(b.size());
  std::vector<std::vector<int>> history;
  std::vector<int> reach(2 * limit + 3, 0);
  const int middle = limit + 1;
  for (int d = 0; d <= limit; ++d) {
    for (int k = -d; k <= d; k += 2) {
      bool down = k == -d || (k != d && reach[middle + k - 1] < reach[middle + k + 1]);
      int x = down ? reach[middle + k + 1] : reach[middle + k - 1] + 1;
      while (x < n && x - k < m && x - k >= 0 && a[x] == b[x - k]) ++x;
      reach[middle + k] = x;
      if (x >= n && x - k >= m) {
        history.emplace_back(reach.begin() + middle - d, reach.begin() + middle + d + 1);
        return history;
      }
    }
    history.emplace_back(reach.begin() + middle - d, reach.begin() + middle + d + 1);
  }
  return {};
}

std::vector<Edit> replace_all(const Lines& a, const Lines& b) {
  std::vector<Edit> edits;
  for (std::string_view line : a) edits.push_back({'-', line});
  for (std::string_view line : b) edits.push_back({'+', line});
  return edits;
}

std::vector<Edit> shortest_edits(const Lines& a, const Lines& b) {
  auto history = frontiers(a, b, static_cast<int>(std::min<size_t>(a.size() + b.size(), 2000)));
  if (history.empty()) return replace_all(a, b);
  std::vector<Edit> edits;
  int x = static_cast<int>(a.size()), y = static_cast<int>(b.size());
  for (int d = static_cast<int>(history.size()) - 1; d > 0; --d) {
    const std::vector<int>& before = history[d - 1];
    // `before` holds diagonals -(d-1)..d-1; outside it nothing was reached.
    auto at = [&](int k) {
      int i = k + d - 1;
      return i >= 0 && i < static_cast<int>(before.size()) ? before[i] : -1;
    };
    int k = x - y;
    bool down = k == -d || (k != d && at(k - 1) < at(k + 1));
    int from_k = down ? k + 1 : k - 1;
    int from_x = at(from_k), from_y = from_x - from_k;
    while (x > from_x && y > from_y && (down ? y > from_y + 1 : x > from_x + 1)) {
      edits.push_back({' ', a[--x]});
      --y;
    }
    edits.push_back(down ? Edit{'+', b[--y]} : Edit{'-', a[--x]});
  }
  while (x > 0) edits.push_back({' ', a[--x]});
  std::reverse(edits.begin(), edits.end());
  return edits;
}

}  // namespace

std::string unified_diff(const std::string& before, const std::string& after) {
  if (before == after) return "";
  const std::vector<Edit> edits = shortest_edits(split_lines(before), split_lines(after));
  constexpr size_t kContext = 3;
  std::string out;
  size_t i = 0, old_line = 1, new_line = 1;
  while (true) {
    size_t change = i;
    while (change < edits.size() && edits[change].mark == ' ') ++change;
    if (change == edits.size()) return out;
    size_t start = change - std::min(change - i, kContext);
    old_line += start - i;
    new_line += start - i;
    size_t end = change, quiet = 0;
    for (size_t j = change; j < edits.size() && quiet <= 2 * kContext; ++j) {
      quiet = edits[j].mark == ' ' ? quiet + 1 : 0;
      if (quiet == 0) end = j + 1;
    }
    end = std::min(end + kContext, edits.size());
    size_t removed = 0, added = 0;
    std::string body;
    for (size_t j = start; j < end; ++j) {
      removed += edits[j].mark != '+';
      added += edits[j].mark != '-';
      body += fmt::format("{}{}\n", edits[j].mark, edits[j].line);
    }
    out += fmt::format("@@ -{},{} +{},{} @@\n{}", old_line, removed, new_line, added, body);
    old_line += removed;
    new_line += added;
    i = end;
  }
}

}  // namespace quern
