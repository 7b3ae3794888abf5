// SPDX-License-Identifier: Apache-2.0
#include "record/plan_lines.h"

#include <algorithm>
#include <string_view>

#include "base/strings.h"

namespace quern {

std::vector<PlanLine> plan_lines(const std::string& source) {
  std::vector<PlanLine> lines;
  int number = 0;
  for (size_t start = 0; start < source.size();) {
    const size_t end = std::min(source.find('\n', start), source.size());
    const std::string_view text = trim(std::string_view(source).substr(start, end - start));
    start = end + 1;
    ++number;
    if (text.empty()) continue;
    if (!text.starts_with("//")) break;
    const std::string_view comment = trim(text.substr(2));
    if (!comment.starts_with("quern:")) continue;
    const std::string_view rest = comment.substr(6);
    const bool goes_on = rest.starts_with("  ") || rest.starts_with("\t");
    lines.push_back({number, std::string(trim(rest)), goes_on});
  }
  return lines;
}

}  // namespace quern
