// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "ir/program.h"
#include "ir/recurrence.h"
#include "ir/scalar.h"

namespace quern::ir {

/// Tensors by name, dense and row-major. Integer tensors hold their whole numbers as `T`.
template <class T>
using Tensors = std::map<std::string, std::vector<T>>;

/// Evaluates statements one element at a time over the scalar `T`: the meaning of a program.
template <class T>
class Interpreter {
 public:
  Interpreter(const Program& program, const Sizes& sizes, const Tensors<T>& inputs)
      : program_(program), sizes_(sizes), tensors_(inputs) {}

  /// All tensors after running every statement, inputs included.
  Tensors<T> run() && {
    for (const InputDecl& input : program_.inputs) {
      QUERN_CHECK(static_cast<int64_t>(tensors_[input.name].size()) ==
                      element_count(shape_of(program_, input.name, sizes_)),
                  "an input of the interpreter has as many elements as its shape says");
    }
    const std::vector<Recurrence> loops = recurrences(program_);
    for (int s = 0; s < static_cast<int>(program_.statements.size()); ++s) {
      if (const Recurrence* loop = recurrence_of(loops, s)) {
        execute(*loop);
        s = loop->last;
      } else {
        execute(program_.statements[static_cast<size_t>(s)]);
      }
    }
    return std::move(tensors_);
  }

 private:
  using Truth = std::conditional_t<std::is_same_v<T, Exact>, ExactTruth, bool>;

  /// An index with its axes resolved to places in `point_`.
  struct Index {
    IntExpr::Kind kind = IntExpr::Kind::kConstant;
    int64_t constant = 0;  ///< kConstant stands for the whole affine form, terms included
    std::vector<std::pair<size_t, int64_t>> terms;
    std::vector<Index> args;
    const std::vector<T>* tensor = nullptr;  ///< kGather
    Shape shape;
  };
  struct Node {
    const Expr* expr = nullptr;
    std::vector<Index> indices;
    std::vector<Node> args;
    const std::vector<T>* tensor = nullptr;
    Shape shape;
  };

  size_t slot(const std::string& axis) const {
    for (size_t i = 0; i < axes_.size(); ++i) {
      if (axes_[i] == axis) return i;
    }
    QUERN_CHECK(false, "an axis of the body belongs to its statement");
  }

  Index resolve(const IntExpr& expr) const {
    Index index;
    Affine affine = affine_form(expr, sizes_);
    if (affine.affine) {
      index.constant = affine.constant;
      for (const auto& [axis, factor] : affine.terms) index.terms.emplace_back(slot(axis), factor);
      return index;
    }
    index.kind = expr.kind;
    for (const IntExpr& arg : expr.args) index.args.push_back(resolve(arg));
    if (expr.kind == IntExpr::Kind::kGather) {
      index.tensor = &tensors_.at(expr.name);
      index.shape = shape_of(program_, expr.name, sizes_);
    }
    return index;
  }

  Node resolve(const Expr& expr) const {
    Node node;
    node.expr = &expr;
    for (const IntExpr& index : expr.indices) node.indices.push_back(resolve(index));
    for (const Expr& arg : expr.args) node.args.push_back(resolve(arg));
    if (expr.kind == Expr::Kind::kLoad) {
      node.tensor = &tensors_.at(expr.name);
      node.shape = shape_of(program_, expr.name, sizes_);
    }
    return node;
  }

  int64_t value(const Index& index) const {
    using Kind = IntExpr::Kind;
    if (index.kind == Kind::kConstant) {
      int64_t sum = index.constant;
      for (const auto& [axis, factor] : index.terms) sum += factor * point_[axis];
      return sum;
    }
    if (index.kind == Kind::kGather) {
      int64_t at = place(index.args, index.shape);
      QUERN_CHECK(at >= 0, "a gather is inside its tensor");
      return static_cast<int64_t>(to_double((*index.tensor)[static_cast<size_t>(at)]));
    }
    int64_t a = value(index.args[0]), b = value(index.args[1]);
    switch (index.kind) {
      case Kind::kAdd:
        return a + b;
      case Kind::kSub:
        return a - b;
      case Kind::kMul:
        return a * b;
      case Kind::kDiv:
        return floor_div(a, b);
      case Kind::kMod:
        return floor_mod(a, b);
      case Kind::kMin:
        return a < b ? a : b;
      default:
        return a < b ? b : a;
    }
  }

  /// Row-major position, or -1 where an index is outside.
  int64_t place(const std::vector<Index>& indices, const Shape& shape) const {
    int64_t at = 0;
    for (size_t d = 0; d < indices.size(); ++d) {
      int64_t i = value(indices[d]);
      if (i < 0 || i >= shape[d]) return -1;
      at = at * shape[d] + i;
    }
    return at;
  }

  T value(const Node& node) const {
    const Expr& expr = *node.expr;
    switch (expr.kind) {
      case Expr::Kind::kConstant:
        return T(expr.value);
      case Expr::Kind::kIndex:
        return T(static_cast<double>(value(node.indices[0])));
      case Expr::Kind::kLoad: {
        int64_t at = place(node.indices, node.shape);
        if (at >= 0) return (*node.tensor)[static_cast<size_t>(at)];
        QUERN_CHECK(!node.args.empty(), "a load is inside its tensor");
        return value(node.args[0]);
      }
      case Expr::Kind::kOp:
        break;
    }
    if (expr.op == Op::kSelect) {
      return op_select(
          truth(node.args[0]), [&] { return value(node.args[1]); },
          [&] { return value(node.args[2]); });
    }
    T a = value(node.args[0]);
    if (node.args.size() == 1) return unary(expr.op, a);
    return binary(expr.op, a, value(node.args[1]));
  }

  static T unary(Op op, const T& a) {
    switch (op) {
      case Op::kNeg:
        return -a;
      case Op::kAbs:
        return op_abs(a);
      case Op::kExp:
        return op_exp(a);
      case Op::kLog:
        return op_log(a);
      case Op::kLog1p:
        return op_log1p(a);
      case Op::kExpm1:
        return op_expm1(a);
      case Op::kSqrt:
        return op_sqrt(a);
      case Op::kRsqrt:
        return op_rsqrt(a);
      case Op::kTanh:
        return op_tanh(a);
      case Op::kErf:
        return op_erf(a);
      case Op::kSin:
        return op_sin(a);
      case Op::kCos:
        return op_cos(a);
      case Op::kFloor:
        return op_floor(a);
      case Op::kSign:
        return op_sign(a);
      default:
        break;
    }
    QUERN_CHECK(false, "a unary operation on values");
  }

  static T binary(Op op, const T& a, const T& b) {
    switch (op) {
      case Op::kAdd:
        return a + b;
      case Op::kSub:
        return a - b;
      case Op::kMul:
        return a * b;
      case Op::kDiv:
        return a / b;
      case Op::kMax:
        return op_max(a, b);
      case Op::kMin:
        return op_min(a, b);
      case Op::kPow:
        return op_pow(a, b);
      default:
        break;
    }
    QUERN_CHECK(false, "a binary operation on values");
  }

  template <class V>
  static Truth compare(Op op, const V& a, const V& b) {
    switch (op) {
      case Op::kLt:
        return Truth(op_lt(a, b));
      case Op::kLe:
        return Truth(op_le(a, b));
      case Op::kGt:
        return Truth(op_gt(a, b));
      case Op::kGe:
        return Truth(op_ge(a, b));
      case Op::kEq:
        return Truth(op_eq(a, b));
      case Op::kNe:
        return Truth(op_ne(a, b));
      default:
        break;
    }
    QUERN_CHECK(false, "a comparison");
  }

  Truth truth(const Node& node) const {
    Op op = node.expr->op;
    auto right = [&] { return truth(node.args[1]); };
    if (op == Op::kNot) return op_not(truth(node.args[0]));
    if (op == Op::kAnd) return op_and(truth(node.args[0]), right);
    if (op == Op::kOr) return op_or(truth(node.args[0]), right);
    const Node& a = node.args[0];
    const Node& b = node.args[1];
    if (a.expr->kind == Expr::Kind::kIndex && b.expr->kind == Expr::Kind::kIndex) {
      // Integers compare as integers, without rounding.
      return compare(op, static_cast<long double>(value(a.indices[0])),
                     static_cast<long double>(value(b.indices[0])));
    }
    return compare(op, value(a), value(b));
  }

  void enter(const Statement& statement, Shape* outer, Shape* inner) {
    axes_.clear();
    for (const Axis& axis : statement.axes) {
      axes_.push_back(axis.name);
      outer->push_back(evaluate(axis.extent, sizes_));
    }
    for (const Axis& axis : statement.reduce_axes) {
      axes_.push_back(axis.name);
      inner->push_back(evaluate(axis.extent, sizes_));
    }
    point_.assign(axes_.size(), 0);
  }

  /// The statements in turn at every position of the axis they share.
  void execute(const Recurrence& recurrence) {
    struct Member {
      const Statement* statement = nullptr;
      Shape outer, inner;
      Node body;
      std::vector<T>* result = nullptr;
    };
    std::vector<Member> members;
    const auto begin = program_.statements.begin();
    for (auto s = begin + recurrence.first; s <= begin + recurrence.last; ++s) {
      const auto count = static_cast<size_t>(element_count(shape_of(program_, s->name, sizes_)));
      tensors_[s->name].assign(count, T(0));
    }
    for (auto s = begin + recurrence.first; s <= begin + recurrence.last; ++s) {
      Member& member = members.emplace_back();
      member.statement = &*s;
      enter(*s, &member.outer, &member.inner);
      member.body = resolve(s->body);
      member.result = &tensors_.at(s->name);
    }
    const auto first = static_cast<size_t>(recurrence.positions[0]);
    const int64_t steps = members[0].outer[first];
    for (int64_t i = 0; i < steps; ++i) {
      for (size_t m = 0; m < members.size(); ++m) {
        const Member& member = members[m];
        const auto along = static_cast<size_t>(recurrence.positions[m]);
        Shape others = member.outer;
        others[along] = 1;
        point_.assign(member.outer.size() + member.inner.size(), 0);
        do {
          point_[along] = recurrence.backwards ? steps - 1 - i : i;
          int64_t at = 0;
          for (size_t d = 0; d < others.size(); ++d) at = at * member.outer[d] + point_[d];
          (*member.result)[static_cast<size_t>(at)] =
              member.statement->kind == Statement::Kind::kMap
                  ? value(member.body)
                  : reduce(member.statement->monoid, member.body, others.size(), member.inner);
        } while (step(0, others));
      }
    }
  }

  void execute(const Statement& statement) {
    Shape outer, inner;
    enter(statement, &outer, &inner);
    Node body = resolve(statement.body);
    std::vector<T> result(static_cast<size_t>(element_count(outer)), T(0));
    if (statement.kind == Statement::Kind::kScan) {
      scan(statement, body, outer, result);
    } else {
      for (T& element : result) {
        element = statement.kind == Statement::Kind::kMap
                      ? value(body)
                      : reduce(statement.monoid, body, outer.size(), inner);
        step(0, outer);
      }
    }
    tensors_[statement.name] = std::move(result);
  }

  /// Moves the axes from `first` on to the next point; false at the end, back at the origin.
  bool step(size_t first, const Shape& extents) {
    for (size_t d = extents.size(); d-- > 0;) {
      if (++point_[first + d] < extents[d]) return true;
      point_[first + d] = 0;
    }
    return false;
  }

  template <class A>
  A accumulate(const Node& body, size_t first, const Shape& extents) {
    A accumulator;
    do accumulator.add(value(body));
    while (step(first, extents));
    return accumulator;
  }

  T reduce(Monoid monoid, const Node& body, size_t first, const Shape& inner) {
    switch (monoid) {
      case Monoid::kSum:
        return accumulate<SumAccumulator<T>>(body, first, inner).result();
      case Monoid::kProd:
        return accumulate<ProdAccumulator<T>>(body, first, inner).result();
      case Monoid::kMax:
        return accumulate<MaxAccumulator<T>>(body, first, inner).result();
      case Monoid::kMin:
        return accumulate<MinAccumulator<T>>(body, first, inner).result();
      case Monoid::kArgMax:
        return position_value(accumulate<ArgMaxAccumulator<T>>(body, first, inner));
      case Monoid::kArgMin:
        break;
    }
    return position_value(accumulate<ArgMinAccumulator<T>>(body, first, inner));
  }

  void scan(const Statement& statement, const Node& body, const Shape& shape,
            std::vector<T>& result) {
    switch (statement.monoid) {
      case Monoid::kProd:
        return scan_with<ProdAccumulator<T>>(statement, body, shape, result);
      case Monoid::kMax:
        return scan_with<MaxAccumulator<T>>(statement, body, shape, result);
      case Monoid::kMin:
        return scan_with<MinAccumulator<T>>(statement, body, shape, result);
      default:
        return scan_with<SumAccumulator<T>>(statement, body, shape, result);
    }
  }

  template <class A>
  void scan_with(const Statement& statement, const Node& body, const Shape& shape,
                 std::vector<T>& result) {
    auto along = static_cast<size_t>(statement.scan_axis);
    int64_t length = shape[along], stride = 1;
    for (size_t d = along + 1; d < shape.size(); ++d) stride *= shape[d];
    Shape others = shape;
    others[along] = 1;
    do {
      int64_t base = 0;
      for (size_t d = 0; d < shape.size(); ++d) base = base * shape[d] + point_[d];
      A accumulator;
      for (int64_t i = 0; i < length; ++i) {
        point_[along] = statement.reverse ? length - 1 - i : i;
        T& element = result[static_cast<size_t>(base + point_[along] * stride)];
        if (statement.exclusive) element = accumulator.result();
        accumulator.add(value(body));
        if (!statement.exclusive) element = accumulator.result();
      }
      point_[along] = 0;
    } while (step(0, others));
  }

  const Program& program_;
  const Sizes& sizes_;
  Tensors<T> tensors_;
  std::vector<std::string> axes_;
  std::vector<int64_t> point_;
};

/// Runs a checked program (`check`, `check_sizes`) on `inputs`, which hold each input's elements.
/// Yields every tensor of the program by name, inputs and intermediates included. Integer inputs
/// must lie in the range their distribution states.
template <class T>
Tensors<T> run(const Program& program, const Sizes& sizes, const Tensors<T>& inputs) {
  return Interpreter<T>(program, sizes, inputs).run();
}

}  // namespace quern::ir
