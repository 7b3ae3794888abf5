// SPDX-License-Identifier: Apache-2.0
#include "schedule/trace.h"

#include <fmt/format.h>

#include <cctype>
#include <charconv>

namespace quern {
namespace {

/// Reads one step from a line; `at` is the place of the first fault.
class StepReader {
 public:
  explicit StepReader(const std::string& line) : line_(line) {}

  bool read(Step* step) {
    if (!word(&step->action) || !token('(') || !word(&step->target)) return false;
    while (token(',')) {
      std::string name;
      std::string value;
      if (!word(&name) || !token('=') || !word(&value)) return false;
      step->args.emplace_back(std::move(name), std::move(value));
    }
    if (!token(')')) return false;
    skip_space();
    return at_ == line_.size();
  }
  size_t at() const { return at_; }

 private:
  void skip_space() {
    while (at_ < line_.size() && line_[at_] == ' ') ++at_;
  }
  bool token(char c) {
    skip_space();
    if (at_ >= line_.size() || line_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool word(std::string* out) {
    skip_space();
    const size_t begin = at_;
    while (at_ < line_.size() && (std::isalnum(static_cast<unsigned char>(line_[at_])) != 0 ||
                                  line_[at_] == '_' || line_[at_] == '-')) {
      ++at_;
    }
    *out = line_.substr(begin, at_ - begin);
    return at_ > begin;
  }

  const std::string& line_;
  size_t at_ = 0;
};

}  // namespace

const std::string* Step::find(const std::string& name) const {
  for (const auto& [key, value] : args) {
    if (key == name) return &value;
  }
  return nullptr;
}

int64_t integer(const Step& step, std::string_view name, int64_t fallback) {
  const std::string* text = step.find(std::string(name));
  if (text == nullptr) return fallback;
  int64_t value = fallback;
  std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

std::string print(const Step& step) {
  std::string text = step.action + "(" + step.target;
  for (const auto& [name, value] : step.args) text += fmt::format(", {}={}", name, value);
  return text + ")";
}

std::string print(const Trace& trace) {
  std::string text;
  for (const Step& step : trace) text += print(step) + "\n";
  return text;
}

Result<Trace> parse_trace(const std::string& text) {
  Trace trace;
  size_t begin = 0;
  for (int number = 1; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(' ') == std::string::npos) continue;
    Step step;
    StepReader reader(line);
    if (!reader.read(&step)) {
      return Error{ErrorKind::kInput,
                   fmt::format("trace:{}:{}: expected `action(target, name=value, …)`, found `{}`",
                               number, reader.at() + 1, line),
                   ""};
    }
    trace.push_back(std::move(step));
  }
  return trace;
}

}  // namespace quern
