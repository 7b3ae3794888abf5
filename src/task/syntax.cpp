// SPDX-License-Identifier: Apache-2.0
#include "task/syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace quern {
namespace {

constexpr int kDeepest = 200;  // brackets within brackets, and operators in a chain

constexpr std::array<std::pair<std::string_view, ReductionWord>, 11> kReductions = {{
    {"sum", {ir::Monoid::kSum, false, false}},
    {"prod", {ir::Monoid::kProd, false, false}},
    {"max", {ir::Monoid::kMax, false, false}},
    {"min", {ir::Monoid::kMin, false, false}},
    {"mean", {ir::Monoid::kSum, false, true}},
    {"argmax", {ir::Monoid::kArgMax, false, false}},
    {"argmin", {ir::Monoid::kArgMin, false, false}},
    {"scan_sum", {ir::Monoid::kSum, true, false}},
    {"scan_prod", {ir::Monoid::kProd, true, false}},
    {"scan_max", {ir::Monoid::kMax, true, false}},
    {"scan_min", {ir::Monoid::kMin, true, false}},
}};

std::string describe(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kNewline:
      return "the end of the line";
    case Token::Kind::kEnd:
      return "the end of the file";
    default:
      return fmt::format("`{}`", token.text);
  }
}

}  // namespace

const ReductionWord* find_reduction(std::string_view word) {
  for (const auto& [name, row] : kReductions) {
    if (name == word) return &row;
  }
  return nullptr;
}

std::vector<std::string> reduction_words() {
  std::vector<std::string> words;
  for (const auto& [name, row] : kReductions) words.emplace_back(name);
  return words;
}

const Token& Cursor::peek(size_t ahead) const {
  return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
}

const Token& Cursor::next() {
  const Token& token = peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Cursor::accept(std::string_view symbol) {
  if (!peek().is(symbol)) return false;
  next();
  return true;
}

bool Cursor::accept_word(std::string_view word) {
  if (!peek().is_word(word)) return false;
  next();
  return true;
}

Error Cursor::error(const std::string& message, std::string hint) const {
  return source_.error(peek().offset, message, std::move(hint));
}

Result<void> Cursor::expect(std::string_view symbol, const char* where) {
  if (accept(symbol)) return {};
  return error(fmt::format("expected `{}` {}, found {}", symbol, where, describe(peek())));
}

Result<Token> Cursor::name(const char* what) {
  if (peek().kind != Token::Kind::kName) {
    return error(fmt::format("expected {}, found {}", what, describe(peek())));
  }
  return next();
}

Result<void> Cursor::end_of_line() {
  if (peek().kind != Token::Kind::kNewline && peek().kind != Token::Kind::kEnd) {
    return error(fmt::format("expected the end of the line, found {}", describe(peek())));
  }
  next();
  return {};
}

Result<Node> Cursor::binary(Node left, const Token& sign, Node right) {
  Node node;
  node.kind = Node::Kind::kBinary;
  node.text = std::string(sign.text);
  node.offset = sign.offset;
  node.depth = 1 + std::max(left.depth, right.depth);
  if (node.depth > kDeepest) {
    return source_.error(sign.offset,
                         fmt::format("the expression is more than {} levels deep", kDeepest),
                         "name a part of it in a statement of its own");
  }
  node.args.push_back(std::move(left));
  node.args.push_back(std::move(right));
  return node;
}

Result<Node> Cursor::expression() {
  if (nesting_ >= kDeepest) {
    return error(fmt::format("the expression is more than {} levels deep", kDeepest),
                 "name a part of it in a statement of its own");
  }
  ++nesting_;
  Result<Node> node = either();
  --nesting_;
  return node;
}

Result<Node> Cursor::either() {
  QUERN_ASSIGN(Node left, both());
  while (peek().is_word("or")) {
    Token sign = next();
    QUERN_ASSIGN(Node right, both());
    QUERN_ASSIGN(left, binary(std::move(left), sign, std::move(right)));
  }
  return left;
}

Result<Node> Cursor::both() {
  QUERN_ASSIGN(Node left, negation());
  while (peek().is_word("and")) {
    Token sign = next();
    QUERN_ASSIGN(Node right, negation());
    QUERN_ASSIGN(left, binary(std::move(left), sign, std::move(right)));
  }
  return left;
}

Result<Node> Cursor::negation() {
  if (!peek().is_word("not")) return comparison();
  Token sign = next();
  if (++nesting_ > kDeepest) {
    return error(fmt::format("the expression is more than {} levels deep", kDeepest));
  }
  QUERN_ASSIGN(Node inner, negation());
  --nesting_;
  Node node;
  node.kind = Node::Kind::kUnary;
  node.text = "not";
  node.offset = sign.offset;
  node.depth = inner.depth + 1;
  node.args.push_back(std::move(inner));
  return node;
}

Result<Node> Cursor::comparison() {
  QUERN_ASSIGN(Node left, sum());
  static constexpr std::string_view kSigns[] = {"<", "<=", ">", ">=", "==", "!="};
  auto is_sign = [&] {
    return std::any_of(std::begin(kSigns), std::end(kSigns),
                       [&](std::string_view sign) { return peek().is(sign); });
  };
  if (!is_sign()) return left;
  Token sign = next();
  QUERN_ASSIGN(Node right, sum());
  if (is_sign()) return error("comparisons do not chain", "write `a < b and b < c`");
  return binary(std::move(left), sign, std::move(right));
}

Result<Node> Cursor::sum() {
  QUERN_ASSIGN(Node left, product());
  while (peek().is("+") || peek().is("-")) {
    Token sign = next();
    QUERN_ASSIGN(Node right, product());
    QUERN_ASSIGN(left, binary(std::move(left), sign, std::move(right)));
  }
  return left;
}

Result<Node> Cursor::product() {
  QUERN_ASSIGN(Node left, unary());
  while (peek().is("*") || peek().is("/") || peek().is("%")) {
    Token sign = next();
    QUERN_ASSIGN(Node right, unary());
    QUERN_ASSIGN(left, binary(std::move(left), sign, std::move(right)));
  }
  return left;
}

Result<Node> Cursor::unary() {
  if (!peek().is("-")) return primary();
  Token sign = next();
  if (++nesting_ > kDeepest) {
    return error(fmt::format("the expression is more than {} levels deep", kDeepest));
  }
  bool literal = peek().kind == Token::Kind::kNumber || peek().is_word("inf");
  QUERN_ASSIGN(Node inner, unary());
  --nesting_;
  if (literal && inner.kind == Node::Kind::kNumber) {
    inner.value = -inner.value;
    inner.offset = sign.offset;
    inner.text = "-" + inner.text;
    return inner;
  }
  Node node;
  node.kind = Node::Kind::kUnary;
  node.text = "-";
  node.offset = sign.offset;
  node.depth = inner.depth + 1;
  node.args.push_back(std::move(inner));
  return node;
}

Result<Node> Cursor::number() {
  Token token = next();
  Node node;
  node.offset = token.offset;
  node.text = std::string(token.text);
  node.integral = token.text.find_first_of(".eE") == std::string_view::npos;
  auto [end, code] =
      std::from_chars(token.text.data(), token.text.data() + token.text.size(), node.value);
  // "3." is fine to write, though from_chars stops before the point of some spellings.
  (void)end;
  if (code != std::errc()) return source_.error(token.offset, "this number is out of range");
  return node;
}

Result<Node> Cursor::parenthesised() {
  Token open = next();
  QUERN_ASSIGN(Node inner, expression());
  if (!peek().is(",")) {
    QUERN_TRY(expect(")", "to close the parenthesis"));
    return inner;
  }
  Node tuple;
  tuple.kind = Node::Kind::kTuple;
  tuple.offset = open.offset;
  tuple.depth = inner.depth + 1;
  tuple.args.push_back(std::move(inner));
  while (accept(",")) {
    QUERN_ASSIGN(Node item, expression());
    tuple.depth = std::max(tuple.depth, item.depth + 1);
    tuple.args.push_back(std::move(item));
  }
  QUERN_TRY(expect(")", "to close the list"));
  return tuple;
}

Result<Node> Cursor::primary() {
  const Token& token = peek();
  if (token.kind == Token::Kind::kNumber) return number();
  if (token.is("(")) return parenthesised();
  if (token.kind == Token::Kind::kName) return named(next());
  return error(fmt::format("expected an expression, found {}", describe(token)));
}

Result<Node> Cursor::named(const Token& name) {
  Node node;
  node.offset = name.offset;
  node.text = std::string(name.text);
  if (name.text == "inf") {
    node.value = std::numeric_limits<double>::infinity();
    return node;
  }
  bool scan_word = peek().is_word("exclusive") || peek().is_word("reverse");
  if (find_reduction(name.text) != nullptr && (peek().is("[") || scan_word)) return reduction(name);
  if (accept("(")) {
    node.kind = Node::Kind::kCall;
    QUERN_TRY(arguments(node));
    return node;
  }
  node.kind = Node::Kind::kName;
  if (!peek().is("[") && !peek().is_word("else")) return node;
  node.kind = Node::Kind::kAccess;
  if (accept("[")) {
    do {
      QUERN_ASSIGN(Node index, expression());
      node.depth = std::max(node.depth, index.depth + 1);
      node.args.push_back(std::move(index));
    } while (accept(","));
    QUERN_TRY(expect("]", "after the indices"));
  }
  if (accept_word("else")) {
    if (++nesting_ > kDeepest) {
      return error(fmt::format("the expression is more than {} levels deep", kDeepest));
    }
    QUERN_ASSIGN(Node otherwise, unary());
    --nesting_;
    node.depth = std::max(node.depth, otherwise.depth + 1);
    node.fallback.push_back(std::move(otherwise));
  }
  return node;
}

Result<void> Cursor::arguments(Node& call) {
  if (accept(")")) return {};
  do {
    if (peek().kind == Token::Kind::kName && peek(1).is("=")) {
      ArgNode arg;
      arg.offset = peek().offset;
      arg.name = std::string(next().text);
      next();
      QUERN_ASSIGN(Node value, expression());
      call.depth = std::max(call.depth, value.depth + 1);
      arg.value.push_back(std::move(value));
      call.named.push_back(std::move(arg));
      continue;
    }
    if (!call.named.empty()) return error("a positional argument follows a named one");
    QUERN_ASSIGN(Node value, expression());
    call.depth = std::max(call.depth, value.depth + 1);
    call.args.push_back(std::move(value));
  } while (accept(","));
  return expect(")", "after the arguments");
}

Result<Node> Cursor::reduction(const Token& name) {
  Node node;
  node.kind = Node::Kind::kReduce;
  node.offset = name.offset;
  node.text = std::string(name.text);
  while (peek().is_word("exclusive") || peek().is_word("reverse")) {
    if (!find_reduction(name.text)->scan) {
      return error(
          fmt::format("`{}` is a reduction; only a scan can be {}", name.text, peek().text),
          fmt::format("write `scan_{}`", name.text));
    }
    bool& flag = peek().is_word("exclusive") ? node.exclusive : node.reverse;
    flag = true;
    next();
  }
  QUERN_TRY(expect("[", "and the axes it runs over"));
  QUERN_ASSIGN(node.axes, axes());
  QUERN_TRY(expect("]", "after the axes"));
  QUERN_ASSIGN(Node body, expression());
  node.depth = body.depth + 1;
  node.args.push_back(std::move(body));
  return node;
}

Result<std::vector<AxisNode>> Cursor::axes() {
  std::vector<AxisNode> list;
  do {
    AxisNode axis;
    axis.offset = peek().offset;
    QUERN_ASSIGN(Token word, name("the name of an axis"));
    axis.name = std::string(word.text);
    if (accept("<")) {
      QUERN_ASSIGN(Node extent, sum());
      axis.extent.push_back(std::move(extent));
    }
    list.push_back(std::move(axis));
  } while (accept(","));
  return list;
}

Result<StatementNode> Cursor::statement_head() {
  StatementNode node;
  node.is_output = accept_word("output");
  node.offset = peek().offset;
  QUERN_ASSIGN(Token word, name("the name of a tensor"));
  node.name = std::string(word.text);
  if (accept(":")) {
    node.type_offset = peek().offset;
    QUERN_ASSIGN(Token type, name("a type"));
    node.type = std::string(type.text);
  }
  if (accept("[")) {
    node.has_axes = true;
    QUERN_ASSIGN(node.axes, axes());
    QUERN_TRY(expect("]", "after the axes"));
  }
  QUERN_TRY(expect("=", "and the value"));
  return node;
}

Result<StatementNode> Cursor::statement() {
  QUERN_ASSIGN(StatementNode node, statement_head());
  QUERN_ASSIGN(node.body, expression());
  if (accept_word("as")) {
    QUERN_ASSIGN(Token origin, name("the name of the operator it came from"));
    node.origin = std::string(origin.text);
  }
  QUERN_TRY(end_of_line());
  return node;
}

}  // namespace quern
