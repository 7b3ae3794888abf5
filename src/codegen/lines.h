// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace quern {

/// Collects lines of generated code and indents them by their braces.
class Lines {
 public:
  void add(std::string_view line) {
    const bool closes = !line.empty() && line.front() == '}';
    if (closes) --depth_;
    if (!line.empty() && line.front() != '#') text_.append(static_cast<size_t>(depth_) * 2, ' ');
    text_ += line;
    text_ += '\n';
    if (!line.empty() && line.back() == '{') ++depth_;
  }
  void add_lines(std::string_view lines) {
    while (!lines.empty()) {
      const size_t end = lines.find('\n');
      const std::string_view line = lines.substr(0, end);
      const size_t start = line.find_first_not_of(' ');
      add(start == std::string_view::npos ? line : line.substr(start));
      lines = end == std::string_view::npos ? std::string_view() : lines.substr(end + 1);
    }
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  int depth_ = 0;
};

}  // namespace quern
