// SPDX-License-Identifier: Apache-2.0
#include "record/candidate.h"

#include <fmt/format.h>

#include <cctype>

#include "base/hash.h"

namespace quern {
namespace {

std::string trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) {
    text.remove_prefix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  return std::string(text);
}

bool is_identifier(const std::string& text) {
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text[0]))) return false;
  for (unsigned char c : text) {
    if (!std::isalnum(c) && c != '_') return false;
  }
  return true;
}

Error plan_error(int line, const std::string& what, const std::string& hint) {
  return Error{ErrorKind::kInput, fmt::format("plan, line {}: {}", line, what), hint};
}

std::vector<std::string> split_names(const std::string& list) {
  std::vector<std::string> names;
  size_t start = 0;
  while (start <= list.size()) {
    size_t comma = std::min(list.find(',', start), list.size());
    std::string name = trimmed(std::string_view(list).substr(start, comma - start));
    if (!name.empty()) names.push_back(name);
    start = comma + 1;
  }
  return names;
}

Result<void> set_plan_key(Plan& plan, const std::string& key, const std::string& value, int line) {
  if (key == "entry") {
    if (!is_identifier(value)) {
      return plan_error(line, fmt::format("entry '{}' is not a C identifier", value),
                        "name the extern \"C\" function, as in: // quern: entry = softmax");
    }
    plan.entry = value;
    return {};
  }
  if (key == "specialize") {
    if (value != "sizes" && value != "none") {
      return plan_error(line, fmt::format("specialize cannot be '{}'", value),
                        "write 'specialize = sizes', or leave the line out");
    }
    plan.specialize = value == "sizes";
    return {};
  }
  if (key == "libraries") {
    plan.libraries = split_names(value);
    return {};
  }
  return plan_error(line, fmt::format("unknown key '{}'", key),
                    "the keys are entry, specialize and libraries");
}

}  // namespace

Result<Plan> parse_plan(const std::string& source, const std::string& default_entry) {
  Plan plan;
  plan.entry = default_entry;
  size_t start = 0;
  for (int line = 1; start < source.size(); ++line) {
    size_t end = std::min(source.find('\n', start), source.size());
    std::string text = trimmed(std::string_view(source).substr(start, end - start));
    start = end + 1;
    if (text.empty()) continue;
    if (text.rfind("//", 0) != 0) break;
    std::string comment = trimmed(std::string_view(text).substr(2));
    if (comment.rfind("quern:", 0) != 0) continue;
    std::string setting = trimmed(std::string_view(comment).substr(6));
    size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      return plan_error(line, fmt::format("'{}' has no '='", setting),
                        "plan lines read '// quern: key = value'");
    }
    QUERN_TRY(set_plan_key(plan, trimmed(std::string_view(setting).substr(0, equals)),
                           trimmed(std::string_view(setting).substr(equals + 1)), line));
  }
  return plan;
}

Candidate make_candidate(std::string source, std::string proposer) {
  Candidate candidate;
  candidate.source = std::move(source);
  candidate.proposer = std::move(proposer);
  // The plan is written in the source, so these bytes are the whole content.
  candidate.id = sha256_hex(candidate.language + "\n" + candidate.source);
  return candidate;
}

}  // namespace quern
