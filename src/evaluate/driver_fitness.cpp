// SPDX-License-Identifier: Apache-2.0
#include "evaluate/driver_fitness.h"

#include <fmt/format.h>

#include <optional>
#include <regex>

#include "base/file.h"
#include "base/strings.h"

namespace quern {
namespace {

/// A prompt taken apart: `double NAME(ARGUMENTS) {` is its last line.
struct Head {
  std::string before, line, name;
  bool returns = false;
};

std::optional<Head> parse_head(const std::string& prompt) {
  static const auto& pattern = *new std::regex(R"(^\s*(.*?)(\w+)\s*\(.*\{$)");
  const std::string text(trim(prompt));
  const size_t start = text.rfind('\n') + 1;  // npos + 1 is 0
  Head head{text.substr(0, start), text.substr(start), "", false};
  std::smatch parts;
  if (head.line.size() > 1000 || !std::regex_match(head.line, parts, pattern)) return std::nullopt;
  head.name = parts[2];
  head.returns = !trim(parts[1].str()).ends_with("void");
  return head;
}

std::string empty_answer(const Head& head) {
  return fmt::format("{}{}\n{}}}\n", head.before, head.line, head.returns ? "  return {};\n" : "");
}

/// The function that the driver's `best` calls, under the candidate's name; "" where none is found.
Result<std::string> own_function(const DriverTask& task) {
  static const auto& pattern = *new std::regex(R"(\bcorrect\w*(?=\s*\())");
  QUERN_ASSIGN(const std::string driver, read_file(task.folder + "/cpu.cc"));
  const size_t best = driver.find(" best(");
  if (best == std::string::npos) return std::string();
  const std::string from = driver.substr(best, 2000);
  std::smatch found;
  return std::regex_search(from, found, pattern) ? found[0].str() : std::string();
}

Result<Verdict> verdict_on(const DriverTask& task, const std::string& source,
                           DriverOptions options) {
  options.pairs = options.least_pairs = 1;
  QUERN_ASSIGN(const DriverJudgement judgement, judge_driver(task, source, options));
  return judgement.verdict;
}

}  // namespace

Result<std::string> driver_fault(const DriverTask& task, const std::string& prompt, bool one_passed,
                                 const DriverOptions& options) {
  const std::optional<Head> head = parse_head(prompt);
  if (!head) return std::string();
  if (one_passed) {
    QUERN_ASSIGN(const Verdict verdict, verdict_on(task, empty_answer(*head), options));
    return std::string(passed(verdict) ? "the driver's check accepts a function that does nothing"
                                       : "");
  }
  QUERN_ASSIGN(const std::string own, own_function(task));
  if (own.empty()) return std::string();
  const std::string source = fmt::format("{}#define {} {}\n", head->before, head->name, own);
  QUERN_ASSIGN(const Verdict verdict, verdict_on(task, source, options));
  if (passed(verdict) || std::holds_alternative<CompileFailed>(verdict)) return std::string();
  const std::string said(trim(verdict_evidence(verdict)));
  return fmt::format("the driver refuses its own answer, {}: {}{}", own, verdict_reason(verdict),
                     said.empty() ? "" : " (" + shorten(said, 300) + ")");
}

}  // namespace quern
