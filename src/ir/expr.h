// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/dtype.h"

/// The expressions of a tensor program. Plain immutable-by-convention values: copying one copies
/// the tree, comparison is structural. Rewrites build new trees.
namespace quern::ir {

/// A quasi-affine integer expression over sizes and axes: an extent, an index, an offset.
/// Division is floor division and `mod` takes the sign of the divisor (as in Python), so that
/// `a == b * (a / b) + a % b` holds for negative `a` too.
struct IntExpr {
  enum class Kind { kConstant, kSize, kAxis, kAdd, kSub, kMul, kDiv, kMod, kMin, kMax, kGather };
  Kind kind = Kind::kConstant;
  int64_t value = 0;          ///< kConstant
  std::string name;           ///< kSize, kAxis: what it refers to; kGather: an integer tensor
  std::vector<IntExpr> args;  ///< operands, or the indices of the gathered tensor

  bool operator==(const IntExpr&) const = default;
};

IntExpr int_constant(int64_t value);
IntExpr int_size(std::string name);
IntExpr int_axis(std::string name);
/// Builds `kind` over two operands and folds constants and neutral elements (x+0, x*1, 0*x, x/1).
IntExpr int_binary(IntExpr::Kind kind, IntExpr a, IntExpr b);
IntExpr operator+(IntExpr a, IntExpr b);
IntExpr operator-(IntExpr a, IntExpr b);
IntExpr operator*(IntExpr a, IntExpr b);

/// Scalar operations on values. Each has one row in the table of `ir/expr.cpp`: spelling, arity.
enum class Op {
  // unary
  kNeg,
  kAbs,
  kExp,
  kLog,
  kLog1p,
  kExpm1,
  kSqrt,
  kRsqrt,
  kTanh,
  kErf,
  kSin,
  kCos,
  kFloor,
  kSign,
  // binary
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMax,
  kMin,
  kPow,
  // comparisons of values (bool) and of conditions (bool)
  kLt,
  kLe,
  kGt,
  kGe,
  kEq,
  kNe,
  kAnd,
  kOr,
  kNot,
  // select(condition, then, otherwise): only the chosen side is evaluated
  kSelect,
};

struct OpInfo {
  Op op;
  const char* name;  ///< "exp", or the infix spelling "+"
  int arity;
  bool infix;
  bool boolean;  ///< result is a condition
};
const OpInfo& op_info(Op op);
/// The row with that functional spelling ("exp", "max", "select"), or null.
const OpInfo* find_function(const std::string& name);

/// A scalar expression, evaluated at one point of a statement's domain.
struct Expr {
  enum class Kind {
    kConstant,  ///< `value`; `spelling` keeps the literal as written
    kIndex,     ///< the value of an integer expression (`indices[0]`)
    kLoad,      ///< `name[indices...]`; with one arg: that value where an index is out of range
    kOp,        ///< `op` over `args`
  };
  Kind kind = Kind::kConstant;
  double value = 0;
  std::string name;
  std::vector<IntExpr> indices;
  Op op = Op::kAdd;
  std::vector<Expr> args;

  bool operator==(const Expr&) const = default;
};

Expr constant(double value);
Expr index_value(IntExpr index);
Expr load(std::string tensor, std::vector<IntExpr> indices);
/// A load that yields `fallback` where any index is outside the tensor ("x[i - 1] else 0").
Expr load_else(std::string tensor, std::vector<IntExpr> indices, Expr fallback);
Expr apply(Op op, std::vector<Expr> args);

/// Replaces every axis named in `names` by the expression of the same position in `by`.
IntExpr substitute(const IntExpr& in, const std::vector<std::string>& names,
                   const std::vector<IntExpr>& by);
Expr substitute(const Expr& in, const std::vector<std::string>& names,
                const std::vector<IntExpr>& by);

/// Axes used, in order of first use, each once.
std::vector<std::string> axes_of(const IntExpr& expr);
std::vector<std::string> axes_of(const Expr& expr);
bool uses_axis(const IntExpr& expr, const std::string& axis);
bool uses_axis(const Expr& expr, const std::string& axis);

/// Every load in the expression (gathers inside indices not included), in evaluation order.
std::vector<const Expr*> loads_of(const Expr& expr);
/// Names of all tensors read, gathers included, each once.
std::vector<std::string> tensors_of(const Expr& expr);

/// Canonical text, as in a task file.
std::string print(const IntExpr& expr);
std::string print(const Expr& expr);

/// The affine form `constant + sum of coefficient * axis` of an index once sizes are known;
/// `affine` is false where the expression has div, mod, min, max of axes or a gather.
struct Affine {
  bool affine = true;
  int64_t constant = 0;
  std::vector<std::pair<std::string, int64_t>> terms;  ///< axis, coefficient (never 0)
  int64_t coefficient(const std::string& axis) const;
};

}  // namespace quern::ir
