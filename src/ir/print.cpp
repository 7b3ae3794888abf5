// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>

#include "ir/expr.h"

namespace quern::ir {
namespace {

// Binding strength, weakest first. A text is put in parentheses where it binds weaker than its
// place asks for.
enum Level { kOr = 1, kAnd, kNot, kCompare, kSum, kProduct, kUnary, kAtom };

std::string wrap(std::string text, int level, int wanted) {
  return level >= wanted ? std::move(text) : "(" + std::move(text) + ")";
}

std::string text_of(const IntExpr& expr, int wanted);

std::string list_of(const std::vector<IntExpr>& args) {
  std::string text;
  for (const IntExpr& arg : args) {
    if (!text.empty()) text += ", ";
    text += text_of(arg, kOr);
  }
  return text;
}

std::string text_of(const IntExpr& expr, int wanted) {
  using Kind = IntExpr::Kind;
  auto infix = [&](const char* sign, int level) {
    return wrap(text_of(expr.args[0], level) + sign + text_of(expr.args[1], level + 1), level,
                wanted);
  };
  switch (expr.kind) {
    case Kind::kConstant:
      return fmt::format("{}", expr.value);
    case Kind::kSize:
    case Kind::kAxis:
      return expr.name;
    case Kind::kAdd:
      return infix(" + ", kSum);
    case Kind::kSub:
      return infix(" - ", kSum);
    case Kind::kMul:
      return infix(" * ", kProduct);
    case Kind::kDiv:
      return infix(" / ", kProduct);
    case Kind::kMod:
      return infix(" % ", kProduct);
    case Kind::kMin:
      return "min(" + list_of(expr.args) + ")";
    case Kind::kMax:
      return "max(" + list_of(expr.args) + ")";
    case Kind::kGather:
      return expr.args.empty() ? expr.name : expr.name + "[" + list_of(expr.args) + "]";
  }
  return "";
}

std::string text_of(const Expr& expr, int wanted);

std::string constant_text(double value) {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return fmt::format("{}", value);
}

std::string load_text(const Expr& expr, int wanted) {
  std::string text = expr.name;
  if (!expr.indices.empty()) text += "[" + list_of(expr.indices) + "]";
  if (expr.args.empty()) return text;
  // `else` binds tighter than any operator; parentheses say so to the reader.
  return wrap(text + " else " + text_of(expr.args[0], kAtom), kOr, wanted);
}

/// An integer expression among values. What is not a single name is marked, since `/` and the
/// operators around it mean real arithmetic.
std::string index_text(const IntExpr& index) {
  bool name = index.kind == IntExpr::Kind::kAxis || index.kind == IntExpr::Kind::kSize;
  return name ? index.name : "index(" + text_of(index, kOr) + ")";
}

std::string compare_text(const Expr& expr, int wanted) {
  const Expr& a = expr.args[0];
  const Expr& b = expr.args[1];
  bool integers = a.kind == Expr::Kind::kIndex && b.kind == Expr::Kind::kIndex;
  auto side = [&](const Expr& arg) {
    return integers ? text_of(arg.indices[0], kSum) : text_of(arg, kSum);
  };
  return wrap(fmt::format("{} {} {}", side(a), op_info(expr.op).name, side(b)), kCompare, wanted);
}

std::string infix_text(const Expr& expr, int wanted) {
  auto binary = [&](int level) {
    return wrap(fmt::format("{} {} {}", text_of(expr.args[0], level), op_info(expr.op).name,
                            text_of(expr.args[1], level + 1)),
                level, wanted);
  };
  switch (expr.op) {
    case Op::kOr:
      return binary(kOr);
    case Op::kAnd:
      return binary(kAnd);
    case Op::kNot:
      return wrap("not " + text_of(expr.args[0], kNot), kNot, wanted);
    case Op::kAdd:
    case Op::kSub:
      return binary(kSum);
    case Op::kMul:
    case Op::kDiv:
      return binary(kProduct);
    case Op::kNeg: {
      // "-2" is a constant; the negation of a constant keeps its parentheses.
      bool plain = expr.args[0].kind == Expr::Kind::kConstant;
      std::string inner = text_of(expr.args[0], kUnary);
      return wrap("-" + (plain ? "(" + inner + ")" : inner), kUnary, wanted);
    }
    default:
      return compare_text(expr, wanted);
  }
}

std::string text_of(const Expr& expr, int wanted) {
  switch (expr.kind) {
    case Expr::Kind::kConstant:
      return constant_text(expr.value);
    case Expr::Kind::kIndex:
      return index_text(expr.indices[0]);
    case Expr::Kind::kLoad:
      return load_text(expr, wanted);
    case Expr::Kind::kOp:
      break;
  }
  if (op_info(expr.op).infix) return infix_text(expr, wanted);
  std::string text;
  for (const Expr& arg : expr.args) {
    if (!text.empty()) text += ", ";
    text += text_of(arg, kOr);
  }
  return fmt::format("{}({})", op_info(expr.op).name, text);
}

}  // namespace

std::string print(const IntExpr& expr) { return text_of(expr, kOr); }
std::string print(const Expr& expr) { return text_of(expr, kOr); }

}  // namespace quern::ir
