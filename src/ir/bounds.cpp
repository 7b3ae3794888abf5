// SPDX-License-Identifier: Apache-2.0
#include "ir/bounds.h"

#include <algorithm>

#include "ir/saturate.h"

namespace quern::ir {

Bounds::Bounds(const Program& program, const Sizes& sizes, const Statement& statement)
    : program_(program), sizes_(sizes) {
  for (const std::vector<Axis>* list : {&statement.axes, &statement.reduce_axes}) {
    for (const Axis& axis : *list) axes_[axis.name] = Range{0, evaluate(axis.extent, sizes) - 1};
  }
}

Bounds::Linear Bounds::combined(const Linear& a, const Linear& b, int64_t sign) {
  Linear out = a;
  out.constant = saturating_add(out.constant, saturating_mul(sign, b.constant));
  for (const auto& [name, term] : b.terms) {
    auto [it, fresh] = out.terms.try_emplace(name, 0, term.second);
    it->second.first = saturating_add(it->second.first, saturating_mul(sign, term.first));
    if (it->second.first == 0) out.terms.erase(it);
  }
  return out;
}

Bounds::Linear Bounds::scaled(const Linear& a, int64_t factor) {
  Linear out;
  if (factor == 0) return out;
  out.constant = saturating_mul(a.constant, factor);
  for (const auto& [name, term] : a.terms) {
    out.terms[name] = {saturating_mul(term.first, factor), term.second};
  }
  return out;
}

Range Bounds::plain(const Linear& form) {
  Range range{form.constant, form.constant};
  for (const auto& [name, term] : form.terms) {
    int64_t a = saturating_mul(term.first, term.second.low);
    int64_t b = saturating_mul(term.first, term.second.high);
    range.low = saturating_add(range.low, std::min(a, b));
    range.high = saturating_add(range.high, std::max(a, b));
  }
  return range;
}

/// With a guard g >= 0: a form is at least the least value of (form - g), and at most the greatest
/// of (form + g). Pairs of guards cover the usual window and its padding.
Range Bounds::narrowed(const Linear& form) const {
  Range range = plain(form);
  for (size_t i = 0; i < guards_.size(); ++i) {
    Linear less = combined(form, guards_[i], -1);
    Linear more = combined(form, guards_[i], 1);
    range.low = std::max(range.low, plain(less).low);
    range.high = std::min(range.high, plain(more).high);
    for (size_t j = i + 1; j < guards_.size() && guards_.size() <= 32; ++j) {
      range.low = std::max(range.low, plain(combined(less, guards_[j], -1)).low);
      range.high = std::min(range.high, plain(combined(more, guards_[j], 1)).high);
    }
  }
  return range;
}

Bounds::Linear Bounds::atom(const IntExpr& expr, Range range) const {
  Linear form;
  if (range.low == range.high) {
    form.constant = range.low;
  } else {
    form.terms[print(expr)] = {1, range};
  }
  return form;
}

Range Bounds::gathered(const std::string& tensor) const {
  if (const InputDecl* input = program_.find_input(tensor)) {
    const Distribution& draw = input->distribution;
    if (draw.kind == Distribution::Kind::kIntegers) {
      return {evaluate(draw.low, sizes_), evaluate(draw.high, sizes_)};
    }
    if (draw.kind == Distribution::Kind::kConstant) {
      int64_t value = static_cast<int64_t>(std::clamp(draw.a, -9e15, 9e15));
      return {value, value};
    }
    return {kInt64Min, kInt64Max};
  }
  const Statement* statement = program_.find_statement(tensor);
  if (statement == nullptr) return {kInt64Min, kInt64Max};
  if (statement->monoid == Monoid::kArgMax || statement->monoid == Monoid::kArgMin) {
    return {0, evaluate(statement->reduce_axes[0].extent, sizes_) - 1};
  }
  if (statement->kind == Statement::Kind::kMap && statement->body.kind == Expr::Kind::kIndex) {
    return Bounds(program_, sizes_, *statement).range(statement->body.indices[0]);
  }
  return {kInt64Min, kInt64Max};
}

Bounds::Linear Bounds::quotient(const IntExpr& expr) const {
  Linear a = linear(expr.args[0]);
  Range divisor = narrowed(linear(expr.args[1]));
  if (divisor.low != divisor.high || divisor.low <= 0) return atom(expr, {kInt64Min, kInt64Max});
  int64_t by = divisor.low;
  bool exact = a.constant % by == 0;
  for (const auto& [name, term] : a.terms) exact = exact && term.first % by == 0;
  if (exact) {
    a.constant /= by;
    for (auto& [name, term] : a.terms) term.first /= by;
    return a;
  }
  Range range = narrowed(a);
  return atom(expr, {floor_div(range.low, by), floor_div(range.high, by)});
}

Bounds::Linear Bounds::remainder(const IntExpr& expr) const {
  Linear a = linear(expr.args[0]);
  Range divisor = narrowed(linear(expr.args[1]));
  if (divisor.low != divisor.high || divisor.low <= 0) return atom(expr, {kInt64Min, kInt64Max});
  int64_t by = divisor.low;
  Range range = narrowed(a);
  if (!saturated(range.low) && !saturated(range.high) &&
      floor_div(range.low, by) == floor_div(range.high, by)) {
    a.constant -= by * floor_div(range.low, by);
    return a;
  }
  return atom(expr, {0, by - 1});
}

Bounds::Linear Bounds::linear(const IntExpr& expr) const {
  using Kind = IntExpr::Kind;
  Linear form;
  switch (expr.kind) {
    case Kind::kConstant:
    case Kind::kSize:
      form.constant = evaluate(expr, sizes_);
      return form;
    case Kind::kAxis:
      return atom(expr, axes_.at(expr.name));
    case Kind::kAdd:
      return combined(linear(expr.args[0]), linear(expr.args[1]), 1);
    case Kind::kSub:
      return combined(linear(expr.args[0]), linear(expr.args[1]), -1);
    case Kind::kDiv:
      return quotient(expr);
    case Kind::kMod:
      return remainder(expr);
    case Kind::kGather:
      return atom(expr, gathered(expr.name));
    default:
      break;
  }
  Linear a = linear(expr.args[0]);
  Linear b = linear(expr.args[1]);
  if (expr.kind == Kind::kMul && b.terms.empty()) return scaled(a, b.constant);
  if (expr.kind == Kind::kMul && a.terms.empty()) return scaled(b, a.constant);
  Range x = narrowed(a), y = narrowed(b);
  if (expr.kind == Kind::kMin) {
    return atom(expr, {std::min(x.low, y.low), std::min(x.high, y.high)});
  }
  if (expr.kind == Kind::kMax) {
    return atom(expr, {std::max(x.low, y.low), std::max(x.high, y.high)});
  }
  int64_t corners[4] = {saturating_mul(x.low, y.low), saturating_mul(x.low, y.high),
                        saturating_mul(x.high, y.low), saturating_mul(x.high, y.high)};
  return atom(expr,
              {*std::min_element(corners, corners + 4), *std::max_element(corners, corners + 4)});
}

Range Bounds::range(const IntExpr& expr) const { return narrowed(linear(expr)); }

size_t Bounds::push(const Expr& condition, bool truth) {
  size_t mark = guards_.size();
  if (condition.kind != Expr::Kind::kOp) return mark;
  Op op = condition.op;
  if (op == Op::kNot) {
    push(condition.args[0], !truth);
    return mark;
  }
  if ((op == Op::kAnd && truth) || (op == Op::kOr && !truth)) {
    push(condition.args[0], truth);
    push(condition.args[1], truth);
    return mark;
  }
  bool integers = condition.args.size() == 2 && condition.args[0].kind == Expr::Kind::kIndex &&
                  condition.args[1].kind == Expr::Kind::kIndex;
  if (!integers) return mark;
  if (!truth) {
    switch (op) {
      case Op::kLt:
        op = Op::kGe;
        break;
      case Op::kLe:
        op = Op::kGt;
        break;
      case Op::kGt:
        op = Op::kLe;
        break;
      case Op::kGe:
        op = Op::kLt;
        break;
      case Op::kNe:
        op = Op::kEq;
        break;
      default:
        return mark;
    }
  }
  Linear a = linear(condition.args[0].indices[0]);
  Linear b = linear(condition.args[1].indices[0]);
  Linear ascending = combined(b, a, -1), descending = combined(a, b, -1);
  if (op == Op::kLt) ascending.constant = saturating_add(ascending.constant, -1);
  if (op == Op::kGt) descending.constant = saturating_add(descending.constant, -1);
  if (op == Op::kLt || op == Op::kLe || op == Op::kEq) push_guard(ascending);
  if (op == Op::kGt || op == Op::kGe || op == Op::kEq) push_guard(descending);
  return mark;
}

}  // namespace quern::ir
