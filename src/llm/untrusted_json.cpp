// SPDX-License-Identifier: Apache-2.0
#include "llm/untrusted_json.h"

namespace quern::llm {
namespace {

constexpr int kDeepest = 128;

bool is_too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"') in_string = !in_string;
    if (in_string) {
      if (c == '\\') ++i;
      continue;
    }
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (depth > kDeepest) return true;
  }
  return false;
}

}  // namespace

Result<Json> parse_untrusted(std::string_view text) {
  if (is_too_deep(text)) return Error{ErrorKind::kInput, "the JSON is nested too deeply", ""};
  return parse_json(text);
}

}  // namespace quern::llm
