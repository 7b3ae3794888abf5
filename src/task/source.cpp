// SPDX-License-Identifier: Apache-2.0
#include "task/source.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Printable ASCII as it is; anything else as one "?" a byte, so that the caret stays in place.
std::string shown(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c == '\t') c = ' ';
    if (c < ' ' || c > '~') c = '?';
  }
  return out;
}

constexpr size_t kLongestName = 64;

class Lexer {
 public:
  explicit Lexer(const Source& source) : source_(source), text_(source.text) {}

  Result<Tokens> run() {
    while (at_ < text_.size()) QUERN_TRY(step());
    bool open = !tokens_.list.empty() && tokens_.list.back().kind != Token::Kind::kNewline;
    if (open) push(Token::Kind::kNewline, 0);
    push(Token::Kind::kEnd, 0);
    return std::move(tokens_);
  }

 private:
  void push(Token::Kind kind, size_t length) {
    tokens_.list.push_back({kind, text_.substr(at_, length), at_});
    at_ += length;
  }

  Result<void> step() {
    char c = text_[at_];
    if (c == '\n') {
      newline();
    } else if (c == ' ' || c == '\t' || c == '\r') {
      ++at_;
    } else if (c == '#') {
      comment();
    } else if (is_letter(c)) {
      size_t length = 1;
      while (at_ + length < text_.size() &&
             (is_letter(text_[at_ + length]) || is_digit(text_[at_ + length]))) {
        ++length;
      }
      if (length > kLongestName) {
        return source_.error(at_, fmt::format("a name has at most {} characters", kLongestName));
      }
      push(Token::Kind::kName, length);
    } else if (is_digit(c)) {
      return number();
    } else {
      return symbol();
    }
    return {};
  }

  /// A line may go on inside brackets and after an operator.
  void newline() {
    bool open = depth_ > 0;
    if (!tokens_.list.empty()) {
      const Token& last = tokens_.list.back();
      static constexpr std::string_view kGoesOn[] = {"+", "-", "*", "/",  "%",  "=",  ",",
                                                     "<", ">", "~", "<=", ">=", "==", "!="};
      open = open ||
             (last.kind == Token::Kind::kSymbol &&
              std::find(std::begin(kGoesOn), std::end(kGoesOn), last.text) != std::end(kGoesOn)) ||
             last.is_word("and") || last.is_word("or") || last.is_word("else");
    }
    if (open || tokens_.list.empty() || tokens_.list.back().kind == Token::Kind::kNewline) {
      ++at_;
    } else {
      push(Token::Kind::kNewline, 1);
    }
  }

  void comment() {
    size_t end = std::min(text_.find('\n', at_), text_.size());
    if (tokens_.list.empty()) {
      std::string line(text_.substr(at_ + 1, end - at_ - 1));
      if (!line.empty() && line[0] == ' ') line.erase(0, 1);
      while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r')) {
        line.pop_back();
      }
      tokens_.doc.push_back(line);
    }
    at_ = end;
  }

  Result<void> number() {
    size_t end = at_;
    auto digits = [&] {
      size_t from = end;
      while (end < text_.size() && is_digit(text_[end])) ++end;
      return end > from;
    };
    digits();
    if (end < text_.size() && text_[end] == '.') {
      ++end;
      digits();
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      ++end;
      if (end < text_.size() && (text_[end] == '+' || text_[end] == '-')) ++end;
      if (!digits()) return source_.error(at_, "a number lacks the digits of its exponent");
    }
    if (end < text_.size() && (is_letter(text_[end]) || text_[end] == '.')) {
      return source_.error(at_, "this is neither a number nor a name",
                           "a name starts with a letter");
    }
    if (end - at_ > kLongestName) return source_.error(at_, "this number is too long");
    push(Token::Kind::kNumber, end - at_);
    return {};
  }

  Result<void> symbol() {
    static constexpr std::string_view kTwo[] = {"<=", ">=", "==", "!="};
    static constexpr std::string_view kOne = "()[],:=~+-*/%<>?";
    for (std::string_view two : kTwo) {
      if (text_.substr(at_, 2) == two) {
        push(Token::Kind::kSymbol, 2);
        return {};
      }
    }
    char c = text_[at_];
    if (kOne.find(c) == std::string_view::npos || c == '\0') {
      if (c == '\0') return source_.error(at_, "unexpected NUL byte: this is not a text file");
      return source_.error(at_, fmt::format("unexpected character `{}`", shown({&c, 1})));
    }
    if (c == '(' || c == '[') ++depth_;
    if ((c == ')' || c == ']') && depth_ > 0) --depth_;
    push(Token::Kind::kSymbol, 1);
    return {};
  }

  const Source& source_;
  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  Tokens tokens_;
};

}  // namespace

Error Source::error(size_t offset, const std::string& message, std::string hint) const {
  offset = std::min(offset, text.size());
  // Past the last line end there is no line to show: point behind the last character instead.
  while (offset > 0 && offset == text.size() && text[offset - 1] == '\n') --offset;
  size_t begin = offset == 0 ? 0 : text.rfind('\n', offset - 1);
  begin = begin == std::string_view::npos ? 0 : begin + (offset == 0 ? 0 : 1);
  size_t end = std::min(text.find('\n', offset), text.size());
  auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(begin), '\n');
  size_t column = offset - begin;
  // Only a window of a very long line is worth showing.
  size_t from = column > 80 ? column - 60 : 0;
  std::string excerpt = shown(text.substr(begin + from, std::min<size_t>(end - begin - from, 120)));
  while (!excerpt.empty() && excerpt.back() == ' ') excerpt.pop_back();
  std::string place = fmt::format("{}:{}:{}: error: {}", file, line, column + 1, message);
  if (!excerpt.empty())
    place += fmt::format("\n  {}\n  {}^", excerpt, std::string(column - from, ' '));
  return Error{ErrorKind::kInput, place, std::move(hint)};
}

Result<Tokens> tokenize(const Source& source) { return Lexer(source).run(); }

}  // namespace quern
