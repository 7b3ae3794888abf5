// SPDX-License-Identifier: Apache-2.0
#include "record/candidate.h"

#include <fmt/format.h>

#include "base/hash.h"
#include "base/strings.h"
#include "base/suggest.h"
#include "record/plan_lines.h"

namespace quern {
namespace {

Error plan_error(int line, const std::string& what, const std::string& hint) {
  return Error{ErrorKind::kInput, fmt::format("plan, line {}: {}", line, what), hint};
}

std::vector<std::string> split_names(const std::string& list) {
  std::vector<std::string> names;
  for (const std::string& piece : split(list, ',')) {
    if (!trim(piece).empty()) names.emplace_back(trim(piece));
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
  std::string meant = did_you_mean(key, {"entry", "specialize", "libraries"});
  return plan_error(line, fmt::format("unknown key '{}'", key),
                    meant.empty() ? "the keys are entry, specialize and libraries" : meant);
}

}  // namespace

Result<Plan> parse_plan(const std::string& source, const std::string& default_entry) {
  Plan plan;
  plan.entry = default_entry;
  for (const PlanLine& line : plan_lines(source)) {
    const size_t equals = line.text.find('=');
    if (equals == std::string::npos) {
      return plan_error(line.number, fmt::format("'{}' has no '='", line.text),
                        "plan lines read '// quern: key = value'");
    }
    const std::string_view text = line.text;
    QUERN_TRY(set_plan_key(plan, std::string(trim(text.substr(0, equals))),
                           std::string(trim(text.substr(equals + 1))), line.number));
  }
  return plan;
}

Candidate make_candidate(std::string source, std::string proposer, std::string language) {
  Candidate candidate;
  candidate.language = std::move(language);
  candidate.source = std::move(source);
  candidate.proposer = std::move(proposer);
  // The plan is written in the source, so these bytes are the whole content.
  candidate.id = sha256_hex(candidate.language + "\n" + candidate.source);
  return candidate;
}

}  // namespace quern
