// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace quern {

/// The text of a task file, for messages that point into it.
struct Source {
  std::string_view text;
  std::string file;

  /// "softmax.task:4:9: error: …", the line, and a caret under byte `offset`.
  Error error(size_t offset, const std::string& message, std::string hint = "") const;
};

struct Token {
  enum class Kind { kName, kNumber, kSymbol, kNewline, kEnd };
  Kind kind = Kind::kEnd;
  std::string_view text;
  size_t offset = 0;

  bool is(std::string_view symbol) const { return kind == Kind::kSymbol && text == symbol; }
  bool is_word(std::string_view word) const { return kind == Kind::kName && text == word; }
};

/// Tokens of a whole file, and the comment lines before the first of them (without "# ").
struct Tokens {
  std::vector<Token> list;  ///< ends with kEnd
  std::vector<std::string> doc;
};

/// Splits a text. A line end inside brackets, or after an operator or comma, does not count.
Result<Tokens> tokenize(const Source& source);

}  // namespace quern
