// SPDX-License-Identifier: Apache-2.0
#include "propose/tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/strings.h"
#include "base/suggest.h"

namespace quern {
namespace {

constexpr std::string_view kMark = "// tune:";
constexpr size_t kMostParameters = 16, kMostValues = 64;
/// Points drawn anew before the grid counts as used up.
constexpr int kDraws = 200;

bool is_tune_line(std::string_view line) { return trim(line).starts_with(kMark); }

Result<TuneParameter> parse_line(std::string_view line) {
  const std::string_view text = trim(trim(line).substr(kMark.size()));
  const auto fault = [&](const char* why) {
    return Error{ErrorKind::kInput, fmt::format("`{}`: {}", trim(line), why),
                 "write: // tune: TILE = 32 8 16 64"};
  };
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) return fault("there is no `=`");
  TuneParameter parameter;
  parameter.name = std::string(trim(text.substr(0, equals)));
  if (!is_identifier(parameter.name)) return fault("what stands before `=` is no name");
  for (const std::string& word : split_words(replace_all(text.substr(equals + 1), ",", " "))) {
    int64_t value = 0;
    const auto read = std::from_chars(word.data(), word.data() + word.size(), value);
    if (read.ec != std::errc() || read.ptr != word.data() + word.size()) {
      return fault("values are whole numbers");
    }
    if (std::ranges::find(parameter.values, value) == parameter.values.end()) {
      parameter.values.push_back(value);
    }
  }
  if (parameter.values.empty()) return fault("there are no values");
  if (parameter.values.size() > kMostValues) return fault("at most 64 values");
  return parameter;
}

}  // namespace

bool has_tune_lines(const std::string& source) {
  return std::ranges::any_of(split(source, '\n'), is_tune_line);
}

Result<KernelTemplate> parse_template(const std::string& source) {
  KernelTemplate made;
  std::vector<std::string> kept;
  for (const std::string& line : split(source, '\n')) {
    const bool instance =
        !kept.empty() && is_tune_line(kept.back()) &&
        trim(line).starts_with(fmt::format("#define {} ", made.parameters.back().name));
    if (instance) continue;
    kept.push_back(line);
    if (!is_tune_line(line)) continue;
    QUERN_ASSIGN(TuneParameter parameter, parse_line(line));
    for (const TuneParameter& other : made.parameters) {
      if (other.name != parameter.name) continue;
      return Error{ErrorKind::kInput, fmt::format("`{}` is tuned twice", parameter.name),
                   "one `// tune:` line for each parameter"};
    }
    made.parameters.push_back(std::move(parameter));
  }
  if (made.parameters.size() > kMostParameters) {
    return Error{ErrorKind::kInput, "more than 16 parameters to tune", "tune fewer"};
  }
  made.text = join(kept, "\n");
  return made;
}

std::string KernelTemplate::instance(const std::vector<size_t>& choice) const {
  std::vector<std::string> lines;
  size_t number = 0;
  for (const std::string& line : split(text, '\n')) {
    lines.push_back(line);
    if (!is_tune_line(line)) continue;
    const TuneParameter& parameter = parameters[number];
    lines.push_back(fmt::format("#define {} {}", parameter.name, parameter.values[choice[number]]));
    ++number;
  }
  return join(lines, "\n");
}

std::string KernelTemplate::describe(const std::vector<size_t>& choice) const {
  std::vector<std::string> parts;
  for (size_t i = 0; i < parameters.size(); ++i) {
    parts.push_back(fmt::format("{}={}", parameters[i].name, parameters[i].values[choice[i]]));
  }
  return join(parts, " ");
}

Tuner::Tuner(KernelTemplate kernel, const NumericSearchInfo& search, std::string proposer,
             uint64_t seed)
    : kernel_(std::move(kernel)),
      search_(search.make()),
      proposer_(std::move(proposer)),
      random_(seed) {
  for (const TuneParameter& parameter : kernel_.parameters) {
    sizes_.push_back(parameter.values.size());
  }
}

Result<std::vector<ProposedCandidate>> Tuner::next(int count) {
  std::vector<ProposedCandidate> made;
  for (int draw = 0; draw < kDraws && static_cast<int>(made.size()) < count; ++draw) {
    const std::vector<size_t> point =
        tried_.empty() ? std::vector<size_t>(sizes_.size(), 0) : search_->next(sizes_, random_);
    if (!tried_.insert(point).second) continue;
    ProposedCandidate& one = made.emplace_back();
    one.candidate = make_candidate(kernel_.instance(point), proposer_);
    one.candidate.note = kernel_.describe(point);
    one.action = one.candidate.note.empty() ? "as written" : "tune: " + one.candidate.note;
    waiting_[one.candidate.id] = point;
  }
  return made;
}

void Tuner::tell(const Attempt& attempt) {
  const auto found = waiting_.find(attempt.candidate.id);
  if (found == waiting_.end()) return;
  const Timing* timing = timing_of(attempt.evaluation.verdict);
  search_->told(found->second, timing && !attempt.evaluation.alarm ? timing->median_ns : 0);
  waiting_.erase(found);
}

}  // namespace quern
