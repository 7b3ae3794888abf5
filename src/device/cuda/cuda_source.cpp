// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/cuda_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace quern::cuda {
namespace {

/// Where the first thing that is neither blank nor comment starts.
size_t first_token(std::string_view source) {
  size_t at = 0;
  while (at < source.size()) {
    const std::string_view rest = source.substr(at);
    size_t skip = 0;
    if (std::string_view(" \t\r\n\f\v").find(rest[0]) != std::string_view::npos) {
      skip = 1;
    } else if (rest.starts_with("//")) {
      // A backslash at its end carries the comment on.
      do {
        skip = rest.find('\n', skip);
        skip = skip == std::string_view::npos ? rest.size() : skip + 1;
      } while (skip < rest.size() && rest[skip - 2] == '\\');
    } else if (rest.starts_with("/*")) {
      skip = rest.find("*/", 2);
      skip = skip == std::string_view::npos ? rest.size() : skip + 2;
    } else {
      break;
    }
    at += skip;
  }
  return at;
}

/// The end of the line at `at` if it includes the house header; else `at`.
size_t end_of_prelude_include(std::string_view source, size_t at) {
  const size_t end = std::min(source.find('\n', at), source.size());
  std::string_view line = source.substr(at, end - at);
  if (!line.starts_with('#')) return at;
  line = trim(line.substr(1));
  if (!line.starts_with("include")) return at;
  line = trim(line.substr(7));
  const std::string quoted = fmt::format("\"{}\"", kPreludeName);
  if (!line.starts_with(quoted)) return at;
  line = trim(line.substr(quoted.size()));
  return line.empty() || line.starts_with("//") ? end : at;
}

}  // namespace

PreparedSource prepare_source(std::string_view source,
                              const std::vector<std::pair<std::string, int64_t>>& macros) {
  const size_t first = first_token(source);
  const size_t end = end_of_prelude_include(source, first);
  PreparedSource prepared;
  prepared.starts_with_prelude = end > first;
  if (macros.empty()) {
    prepared.text = source;
    return prepared;
  }
  std::string definitions;
  for (const auto& [name, value] : macros) {
    definitions += fmt::format("#define {} {}\n", name, value);
  }
  const size_t cut = prepared.starts_with_prelude ? end : 0;
  const auto line = 1 + std::ranges::count(source.substr(0, cut), '\n');
  const bool at_line_end = prepared.starts_with_prelude;
  prepared.text = std::string(source.substr(0, cut)) + (at_line_end ? "\n" : "") + definitions +
                  fmt::format("#line {} \"{}\"\n", line + (at_line_end ? 1 : 0), kSourceName);
  std::string_view rest = source.substr(cut);
  if (at_line_end && rest.starts_with('\n')) rest.remove_prefix(1);
  prepared.text += rest;
  return prepared;
}

std::string architecture_of(int major, int minor) {
  return fmt::format("sm_{}{}{}", major, minor, major >= 9 ? "a" : "");
}

}  // namespace quern::cuda
