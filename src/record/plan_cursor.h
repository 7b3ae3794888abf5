// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "record/plan_expr.h"

namespace quern {

/// Reads the text of one plan line from left to right.
class PlanCursor {
 public:
  /// `sizes`: the names an expression may use. `line`: for messages; 0 where there is none.
  PlanCursor(std::string_view text, int line, const std::vector<std::string>& sizes);
  PlanCursor(const PlanCursor&) = delete;
  PlanCursor& operator=(const PlanCursor&) = delete;

  bool at_end() const { return next_ == tokens_.size(); }
  bool at_symbol(char symbol) const;
  bool at_word() const { return !at_end() && tokens_[next_].kind == Token::Kind::kWord; }
  /// The word here, or "".
  std::string peek_word() const { return at_word() ? std::string(tokens_[next_].text) : ""; }
  bool followed_by(char symbol) const;

  bool take_symbol(char symbol);
  bool take_word(std::string_view word);
  Result<void> expect_symbol(char symbol, const std::string& after);
  /// A word that is a C identifier; `what` names it in the message.
  Result<std::string> identifier(const std::string& what);
  /// Any word or number, as a value of an option.
  Result<std::string> option_value(const std::string& what);
  Result<PlanExpr> expression();
  /// A number, a name, a call, or an expression in parentheses.
  Result<PlanExpr> primary_expression();
  /// `open e, e, … close`.
  Result<std::vector<PlanExpr>> expressions(char open, char close);

  Error error(const std::string& what, const std::string& hint) const;
  /// What stands here, for messages: "'foo'", or "the end of the line".
  std::string here() const;

 private:
  struct Token {
    enum class Kind { kWord, kNumber, kSymbol };
    Kind kind;
    std::string_view text;
  };
  using Op = PlanExpr::Op;
  void tokenize();
  Result<void> sum(PlanExpr& to, int depth);
  Result<void> product(PlanExpr& to, int depth);
  Result<void> primary(PlanExpr& to, int depth);
  Result<void> number(PlanExpr& to);
  Result<void> name_or_call(PlanExpr& to, int depth);
  template <class Read>
  Result<PlanExpr> spanned(Read read);

  std::string text_;
  int line_;
  const std::vector<std::string>& sizes_;
  std::vector<Token> tokens_;
  size_t next_ = 0;
};

}  // namespace quern
