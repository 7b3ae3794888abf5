// SPDX-License-Identifier: Apache-2.0
#include "search/code_similarity.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace quern::metrics {
namespace {

constexpr int kLongest = 4;  ///< n-gram
constexpr double kKeywordWeight = 5;

constexpr std::string_view kKeywords[] = {
    "alignas",    "auto",          "bool",      "break",      "case",
    "char",       "const",         "constexpr", "continue",   "default",
    "do",         "double",        "else",      "enum",       "extern",
    "float",      "for",           "goto",      "if",         "inline",
    "int",        "long",          "namespace", "nullptr",    "reinterpret_cast",
    "restrict",   "return",        "short",     "signed",     "sizeof",
    "static",     "static_cast",   "struct",    "switch",     "template",
    "typedef",    "typename",      "union",     "unsigned",   "using",
    "void",       "volatile",      "while",     "__global__", "__device__",
    "__shared__", "__syncthreads", "__kernel",  "__local",    "__restrict__",
    "pragma",     "omp",           "include",   "define",
};
constexpr std::string_view kPythonKeywords[] = {
    "and",    "as",     "assert", "break",  "class", "continue", "def",    "del",
    "elif",   "else",   "except", "False",  "for",   "from",     "global", "if",
    "import", "in",     "is",     "lambda", "None",  "not",      "or",     "pass",
    "raise",  "return", "True",   "try",    "while", "with",     "yield",
};
/// Longest first.
constexpr std::string_view kOperators[] = {
    "<<=", ">>=", "...", "->*", "<<<", ">>>", "::", "->", "++", "--", "<<", ">>", "<=", ">=",
    "==",  "!=",  "&&",  "||",  "+=",  "-=",  "*=", "/=", "%=", "&=", "|=", "^=", "##"};

enum class Kind { kName, kKeyword, kLiteral, kSign };
struct Token {
  Kind kind;
  std::string_view text;
};

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

bool is_keyword(std::string_view word) { return std::ranges::count(kKeywords, word) > 0; }
bool is_python_keyword(std::string_view word) {
  return std::ranges::count(kPythonKeywords, word) > 0;
}

/// Where white space and comments of C that begin here end.
size_t skip_blank(std::string_view text, size_t at) {
  while (at < text.size()) {
    if (std::isspace(static_cast<unsigned char>(text[at])) || text[at] == '\\') {
      ++at;
    } else if (text.substr(at, 2) == "//") {
      at = std::min(text.find('\n', at), text.size());
    } else if (text.substr(at, 2) == "/*") {
      const size_t end = text.find("*/", at + 2);
      at = end == std::string_view::npos ? text.size() : end + 2;
    } else {
      break;
    }
  }
  return at;
}

/// The length of the quoted text that begins here.
size_t quoted(std::string_view text) {
  size_t at = 1;
  while (at < text.size() && text[at] != text[0] && text[at] != '\n') {
    at += text[at] == '\\' ? 2 : 1;
  }
  return std::min(at + 1, text.size());
}

Token next_token(std::string_view text) {
  const char first = text[0];
  if (first == '"' || first == '\'') return {Kind::kLiteral, text.substr(0, quoted(text))};
  if (is_digit(first) || (first == '.' && text.size() > 1 && is_digit(text[1]))) {
    size_t end = 1;
    const auto goes_on = [&](size_t i) {
      const bool sign = (text[i] == '+' || text[i] == '-') && (text[i - 1] | 0x20) == 'e';
      return is_word(text[i]) || text[i] == '.' || sign;
    };
    while (end < text.size() && goes_on(end)) ++end;
    return {Kind::kLiteral, text.substr(0, end)};
  }
  if (is_word(first)) {
    const auto end = std::ranges::find_if_not(text, is_word);
    const std::string_view word = text.substr(0, static_cast<size_t>(end - text.begin()));
    return {is_keyword(word) ? Kind::kKeyword : Kind::kName, word};
  }
  for (std::string_view op : kOperators) {
    if (text.starts_with(op)) return {Kind::kSign, text.substr(0, op.size())};
  }
  return {Kind::kSign, text.substr(0, 1)};
}

/// Tokens of Python: a line that ends outside of brackets ends its statement, as `;` does in C.
class PythonTokens {
 public:
  explicit PythonTokens(std::string_view text) : text_(text) {
    while (at_ < text_.size()) step();
    end_statement();
  }
  std::vector<Token> take() { return std::move(tokens_); }

 private:
  void step() {
    const char c = text_[at_];
    if (text_.substr(at_, 3) == "\"\"\"" || text_.substr(at_, 3) == "'''") {
      quoted();
    } else if (c == '#') {
      at_ = std::min(text_.find('\n', at_), text_.size());
    } else if (c == '\n') {
      if (depth_ == 0) end_statement();
      ++at_;
    } else if (std::isspace(static_cast<unsigned char>(c)) || c == '\\') {
      ++at_;
    } else {
      add(next_token(text_.substr(at_)));
    }
  }
  void add(Token token) {
    if (is_word(token.text[0]) && !is_digit(token.text[0])) {
      token.kind = is_python_keyword(token.text) ? Kind::kKeyword : Kind::kName;
    }
    const char sign = token.kind == Kind::kSign ? token.text[0] : ' ';
    depth_ += sign == '(' || sign == '[' || sign == '{' ? 1 : 0;
    depth_ -= (sign == ')' || sign == ']' || sign == '}') && depth_ > 0 ? 1 : 0;
    tokens_.push_back(token);
    at_ += token.text.size();
  }
  /// What stands between triple quotes is another language's code: kernels are written so.
  void quoted() {
    const std::string_view mark = text_.substr(at_, 3);
    const size_t end = text_.find(mark, at_ + 3);
    const std::string_view inside =
        text_.substr(at_ + 3, end == std::string_view::npos ? end : end - at_ - 3);
    for (size_t at = skip_blank(inside, 0); at < inside.size(); at = skip_blank(inside, at)) {
      tokens_.push_back(next_token(inside.substr(at)));
      at += tokens_.back().text.size();
    }
    at_ = end == std::string_view::npos ? text_.size() : end + 3;
  }
  void end_statement() {
    if (!tokens_.empty() && tokens_.back().text != ";") tokens_.push_back({Kind::kSign, ";"});
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  std::vector<Token> tokens_;
};

std::vector<Token> tokens_of(std::string_view text, Syntax syntax) {
  if (syntax == Syntax::kPython) return PythonTokens(text).take();
  std::vector<Token> tokens;
  for (size_t at = skip_blank(text, 0); at < text.size(); at = skip_blank(text, at)) {
    tokens.push_back(next_token(text.substr(at)));
    at += tokens.back().text.size();
  }
  return tokens;
}

using Counts = std::map<std::vector<std::string_view>, int>;

Counts ngrams(const std::vector<Token>& tokens, size_t n) {
  Counts counts;
  for (size_t i = 0; i + n <= tokens.size(); ++i) {
    std::vector<std::string_view> gram;
    for (size_t j = i; j < i + n; ++j) gram.push_back(tokens[j].text);
    ++counts[gram];
  }
  return counts;
}

double weight_of(const std::vector<std::string_view>& gram, bool weighted, Syntax syntax) {
  if (!weighted || gram.size() != 1) return 1;
  const bool python = syntax == Syntax::kPython && is_python_keyword(gram[0]);
  return python || is_keyword(gram[0]) ? kKeywordWeight : 1;
}

/// BLEU: the geometric mean over n of the share of the candidate's n-grams that the reference has,
/// each at most as often as there, one added to both counts from n = 2 on (Lin and Och 2004); less
/// for candidates that are shorter.
double bleu(const std::vector<Token>& candidate, const std::vector<Token>& reference, bool weighted,
            Syntax syntax) {
  if (candidate.empty() || reference.empty()) return candidate.empty() && reference.empty() ? 1 : 0;
  double logs = 0;
  for (int n = 1; n <= kLongest; ++n) {
    const Counts mine = ngrams(candidate, static_cast<size_t>(n));
    const Counts theirs = ngrams(reference, static_cast<size_t>(n));
    double shared = n > 1 ? 1 : 0, all = shared;
    for (const auto& [gram, count] : mine) {
      const auto found = theirs.find(gram);
      const int there = found == theirs.end() ? 0 : found->second;
      shared += weight_of(gram, weighted, syntax) * std::min(count, there);
      all += weight_of(gram, weighted, syntax) * count;
    }
    if (shared == 0) return 0;
    logs += std::log(shared / all);
  }
  const double ratio =
      static_cast<double>(reference.size()) / static_cast<double>(candidate.size());
  return std::exp(logs / kLongest + std::min(0.0, 1 - ratio));
}

uint64_t mixed(uint64_t a, uint64_t b) {
  a ^= b + 0x9e3779b97f4a7c15ull + (a << 6) + (a >> 2);
  return a * 0xff51afd7ed558ccdull;
}

/// How often each statement and each pair of brackets occurs, by a hash of its shape.
class Shapes {
 public:
  explicit Shapes(const std::vector<Token>& tokens) {
    for (const Token& token : tokens) add(token);
    while (open_.size() > 1) close();
    end_statement();
  }

  /// Share of these that `other` has too, each at most as often as there; 1 where there is none.
  double found_in(const Shapes& other) const {
    double all = 0, found = 0;
    for (const auto& [shape, count] : counts_) {
      const auto there = other.counts_.find(shape);
      all += count;
      found += there == other.counts_.end() ? 0 : std::min(count, there->second);
    }
    return all == 0 ? 1 : found / all;
  }

 private:
  struct Level {
    char bracket = '{';
    uint64_t group = 0, statement = 0;
    int length = 0;  ///< of the statement
  };

  void add(const Token& token) {
    const char sign = token.kind == Kind::kSign ? token.text[0] : '\0';
    if (sign == '(' || sign == '[' || sign == '{') {
      open_.push_back({sign});
    } else if (sign == ')' || sign == ']' || sign == '}') {
      if (open_.size() > 1) close();
      if (sign == '}') end_statement();
    } else if (sign == ';' && open_.back().bracket == '{') {
      end_statement();
    } else {
      const bool plain = token.kind == Kind::kSign || token.kind == Kind::kKeyword;
      append(plain ? std::hash<std::string_view>()(token.text)
                   : static_cast<uint64_t>(token.kind) + 1);
    }
  }
  void append(uint64_t part) {
    open_.back().statement = mixed(open_.back().statement, part);
    ++open_.back().length;
  }
  void end_statement() {
    Level& level = open_.back();
    if (level.length > 0) ++counts_[level.statement];
    level.group = mixed(level.group, level.statement);
    level.statement = 0;
    level.length = 0;
  }
  void close() {
    if (open_.back().bracket == '{') end_statement();
    const Level level = open_.back();
    const uint64_t inside = mixed(level.group, level.statement);
    const uint64_t shape = mixed(inside, static_cast<uint64_t>(level.bracket));
    ++counts_[shape];
    open_.pop_back();
    append(shape);
  }

  std::vector<Level> open_{Level{}};
  std::unordered_map<uint64_t, int> counts_;
};

}  // namespace

CodeSimilarity code_similarity(std::string_view candidate, std::string_view reference,
                               Syntax syntax) {
  const std::vector<Token> mine = tokens_of(candidate, syntax);
  const std::vector<Token> theirs = tokens_of(reference, syntax);
  CodeSimilarity similarity;
  similarity.ngram = bleu(mine, theirs, false, syntax);
  similarity.weighted = bleu(mine, theirs, true, syntax);
  similarity.tree = theirs.empty() && !mine.empty() ? 0 : Shapes(theirs).found_in(Shapes(mine));
  similarity.total = (similarity.ngram + similarity.weighted + similarity.tree) / 3;
  return similarity;
}

}  // namespace quern::metrics
