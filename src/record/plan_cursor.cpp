// SPDX-License-Identifier: Apache-2.0
#include "record/plan_cursor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/strings.h"
#include "base/suggest.h"

namespace quern {
namespace {

constexpr int kDeepest = 64;           // parentheses in parentheses
constexpr size_t kLongestExpr = 1000;  // numbers, names and operators

bool is_word_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

/// Where the number that starts at `at` ends: digits, a fraction, an exponent.
size_t end_of_number(std::string_view text, size_t at) {
  const auto digits = [&] {
    while (at < text.size() && is_digit(text[at])) ++at;
  };
  digits();
  if (at < text.size() && text[at] == '.') {
    ++at;
    digits();
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    size_t power = at + 1;
    if (power < text.size() && (text[power] == '+' || text[power] == '-')) ++power;
    if (power < text.size() && is_digit(text[power])) {
      at = power;
      digits();
    }
  }
  return at;
}

}  // namespace

PlanCursor::PlanCursor(std::string_view text, int line, const std::vector<std::string>& sizes)
    : text_(text), line_(line), sizes_(sizes) {
  tokenize();
}

void PlanCursor::tokenize() {
  const std::string_view text = text_;
  for (size_t at = 0; at < text.size();) {
    if (std::isspace(static_cast<unsigned char>(text[at])) != 0) {
      ++at;
      continue;
    }
    Token token{Token::Kind::kSymbol, text.substr(at, 1)};
    if (is_digit(text[at])) {
      const size_t end = end_of_number(text, at);
      token = {Token::Kind::kNumber, text.substr(at, end - at)};
    }
    if (is_word_char(text[at])) {
      const size_t begin = at;
      size_t end = begin + token.text.size();
      if (token.kind != Token::Kind::kNumber || (end < text.size() && is_word_char(text[end]))) {
        while (end < text.size() && is_word_char(text[end])) ++end;
        token = {Token::Kind::kWord, text.substr(begin, end - begin)};  // "128b" is a word too
      }
    }
    tokens_.push_back(token);
    at += token.text.size();
  }
}

bool PlanCursor::at_symbol(char symbol) const {
  return !at_end() && tokens_[next_].kind == Token::Kind::kSymbol &&
         tokens_[next_].text.front() == symbol;
}

bool PlanCursor::followed_by(char symbol) const {
  return next_ + 1 < tokens_.size() && tokens_[next_ + 1].kind == Token::Kind::kSymbol &&
         tokens_[next_ + 1].text.front() == symbol;
}

bool PlanCursor::take_symbol(char symbol) {
  if (!at_symbol(symbol)) return false;
  ++next_;
  return true;
}

bool PlanCursor::take_word(std::string_view word) {
  if (!at_word() || tokens_[next_].text != word) return false;
  ++next_;
  return true;
}

Result<void> PlanCursor::expect_symbol(char symbol, const std::string& after) {
  if (take_symbol(symbol)) return {};
  return error(fmt::format("expected '{}' after {}, found {}", symbol, after, here()), "");
}

Result<std::string> PlanCursor::identifier(const std::string& what) {
  if (!at_word() || !is_identifier(tokens_[next_].text)) {
    return error(fmt::format("expected {}, found {}", what, here()), "");
  }
  return std::string(tokens_[next_++].text);
}

Result<std::string> PlanCursor::option_value(const std::string& what) {
  if (at_end() || tokens_[next_].kind == Token::Kind::kSymbol) {
    return error(fmt::format("expected {}, found {}", what, here()), "");
  }
  return std::string(tokens_[next_++].text);
}

Error PlanCursor::error(const std::string& what, const std::string& hint) const {
  const std::string where = line_ > 0 ? fmt::format("plan, line {}: ", line_) : "plan: ";
  return Error{ErrorKind::kInput, where + what, hint};
}

std::string PlanCursor::here() const {
  return at_end() ? "the end of the line" : fmt::format("'{}'", tokens_[next_].text);
}

/// Keeps the text of what `read` took, for messages.
template <class Read>
Result<PlanExpr> PlanCursor::spanned(Read read) {
  PlanExpr expr;
  const size_t first = next_;
  QUERN_TRY(read(expr));
  if (expr.steps_.size() > kLongestExpr) return error("the expression is too long", "");
  const char* begin = tokens_[first].text.data();
  const std::string_view last = tokens_[next_ - 1].text;
  expr.text_ = std::string(begin, static_cast<size_t>(last.data() + last.size() - begin));
  return expr;
}

Result<PlanExpr> PlanCursor::expression() {
  return spanned([this](PlanExpr& to) { return sum(to, 0); });
}

Result<PlanExpr> PlanCursor::primary_expression() {
  return spanned([this](PlanExpr& to) { return primary(to, 0); });
}

Result<std::vector<PlanExpr>> PlanCursor::expressions(char open, char close) {
  std::vector<PlanExpr> all;
  QUERN_TRY(expect_symbol(open, "the word before"));
  do {
    QUERN_ASSIGN(PlanExpr expr, expression());
    all.push_back(std::move(expr));
  } while (take_symbol(','));
  QUERN_TRY(expect_symbol(close, fmt::format("'{}'", all.back().text())));
  return all;
}

Result<void> PlanCursor::sum(PlanExpr& to, int depth) {
  if (depth > kDeepest) return error("parentheses are nested too deeply", "");
  QUERN_TRY(product(to, depth));
  while (at_symbol('+') || at_symbol('-')) {
    const Op op = at_symbol('+') ? Op::kAdd : Op::kSub;
    ++next_;
    QUERN_TRY(product(to, depth));
    to.steps_.push_back({op, 0, 0, ""});
  }
  return {};
}

Result<void> PlanCursor::product(PlanExpr& to, int depth) {
  QUERN_TRY(primary(to, depth));
  while (at_symbol('*') || at_symbol('/') || at_symbol('%')) {
    const Op op = at_symbol('*') ? Op::kMul : at_symbol('/') ? Op::kDiv : Op::kMod;
    ++next_;
    QUERN_TRY(primary(to, depth));
    to.steps_.push_back({op, 0, 0, ""});
  }
  return {};
}

Result<void> PlanCursor::primary(PlanExpr& to, int depth) {
  if (depth > kDeepest) return error("the expression is nested too deeply", "");
  if (take_symbol('-')) {
    to.steps_.push_back({Op::kNumber, 0, 0, ""});
    QUERN_TRY(primary(to, depth + 1));
    to.steps_.push_back({Op::kSub, 0, 0, ""});
    return {};
  }
  if (take_symbol('(')) {
    QUERN_TRY(sum(to, depth + 1));
    return expect_symbol(')', "the expression");
  }
  if (at_end()) return error("expected an expression, found the end of the line", "");
  if (tokens_[next_].kind == Token::Kind::kNumber) return number(to);
  if (at_word()) return name_or_call(to, depth);
  return error(fmt::format("expected an expression, found {}", here()), "");
}

Result<void> PlanCursor::number(PlanExpr& to) {
  const std::string_view text = tokens_[next_].text;
  const char* end = text.data() + text.size();
  PlanExpr::Step step;
  step.op = Op::kNumber;
  if (std::from_chars(text.data(), end, step.real).ec != std::errc()) {
    return error(fmt::format("the number {} is out of range", text), "");
  }
  if (std::ranges::all_of(text, is_digit)) {
    if (std::from_chars(text.data(), end, step.whole).ec != std::errc()) {
      return error(fmt::format("the number {} is out of range", text), "");
    }
  } else {
    to.whole_ = false;
  }
  ++next_;
  to.steps_.push_back(std::move(step));
  return {};
}

Result<void> PlanCursor::name_or_call(PlanExpr& to, int depth) {
  struct Function {
    const char* name;
    Op op;
    int operands;
  };
  static constexpr Function kFunctions[] = {{"ceil_div", Op::kCeilDiv, 2},
                                            {"round_up", Op::kRoundUp, 2},
                                            {"min", Op::kMin, 2},
                                            {"max", Op::kMax, 2},
                                            {"sqrt", Op::kSqrt, 1}};
  const std::string name(tokens_[next_].text);
  if (!followed_by('(')) {
    if (std::ranges::find(sizes_, name) == sizes_.end()) {
      const std::string meant = did_you_mean(name, sizes_);
      return error(fmt::format("'{}' is not a size of the task", name),
                   meant.empty() ? "the sizes are " + join(sizes_, ", ") : meant);
    }
    ++next_;
    to.steps_.push_back({Op::kSize, 0, 0, name});
    return {};
  }
  const auto* function = std::ranges::find_if(
      kFunctions, [&](const Function& candidate) { return name == candidate.name; });
  if (function == std::end(kFunctions)) {
    std::vector<std::string> known;
    for (const Function& each : kFunctions) known.emplace_back(each.name);
    const std::string meant = did_you_mean(name, known);
    return error(fmt::format("there is no function '{}'", name),
                 meant.empty() ? "the functions are " + join(known, ", ") : meant);
  }
  next_ += 2;
  for (int operand = 0; operand < function->operands; ++operand) {
    if (operand > 0) QUERN_TRY(expect_symbol(',', fmt::format("an operand of {}", name)));
    QUERN_TRY(sum(to, depth + 1));
  }
  QUERN_TRY(expect_symbol(')', fmt::format("the operands of {}", name)));
  if (function->op == Op::kSqrt) to.whole_ = false;
  to.steps_.push_back({function->op, 0, 0, ""});
  return {};
}

}  // namespace quern
