// SPDX-License-Identifier: Apache-2.0
#include "ir/expr.h"

#include <algorithm>
#include <array>
#include <utility>

#include "ir/program.h"
#include "ir/saturate.h"

namespace quern::ir {
namespace {

constexpr std::array<OpInfo, 31> kOps = {{
    {Op::kNeg, "-", 1, true, false},          {Op::kAbs, "abs", 1, false, false},
    {Op::kExp, "exp", 1, false, false},       {Op::kLog, "log", 1, false, false},
    {Op::kLog1p, "log1p", 1, false, false},   {Op::kExpm1, "expm1", 1, false, false},
    {Op::kSqrt, "sqrt", 1, false, false},     {Op::kRsqrt, "rsqrt", 1, false, false},
    {Op::kTanh, "tanh", 1, false, false},     {Op::kErf, "erf", 1, false, false},
    {Op::kSin, "sin", 1, false, false},       {Op::kCos, "cos", 1, false, false},
    {Op::kFloor, "floor", 1, false, false},   {Op::kSign, "sign", 1, false, false},
    {Op::kAdd, "+", 2, true, false},          {Op::kSub, "-", 2, true, false},
    {Op::kMul, "*", 2, true, false},          {Op::kDiv, "/", 2, true, false},
    {Op::kMax, "max", 2, false, false},       {Op::kMin, "min", 2, false, false},
    {Op::kPow, "pow", 2, false, false},       {Op::kLt, "<", 2, true, true},
    {Op::kLe, "<=", 2, true, true},           {Op::kGt, ">", 2, true, true},
    {Op::kGe, ">=", 2, true, true},           {Op::kEq, "==", 2, true, true},
    {Op::kNe, "!=", 2, true, true},           {Op::kAnd, "and", 2, true, true},
    {Op::kOr, "or", 2, true, true},           {Op::kNot, "not", 1, true, true},
    {Op::kSelect, "select", 3, false, false},
}};

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

void collect_axes(const IntExpr& expr, std::vector<std::string>& names) {
  if (expr.kind == IntExpr::Kind::kAxis) add_once(names, expr.name);
  for (const IntExpr& arg : expr.args) collect_axes(arg, names);
}

void collect_axes(const Expr& expr, std::vector<std::string>& names) {
  for (const IntExpr& index : expr.indices) collect_axes(index, names);
  for (const Expr& arg : expr.args) collect_axes(arg, names);
}

void collect_loads(const Expr& expr, std::vector<const Expr*>& loads) {
  if (expr.kind == Expr::Kind::kLoad) loads.push_back(&expr);
  for (const Expr& arg : expr.args) collect_loads(arg, loads);
}

void collect_gathers(const IntExpr& expr, std::vector<std::string>& names) {
  if (expr.kind == IntExpr::Kind::kGather) add_once(names, expr.name);
  for (const IntExpr& arg : expr.args) collect_gathers(arg, names);
}

void collect_tensors(const Expr& expr, std::vector<std::string>& names) {
  if (expr.kind == Expr::Kind::kLoad) add_once(names, expr.name);
  for (const IntExpr& index : expr.indices) collect_gathers(index, names);
  for (const Expr& arg : expr.args) collect_tensors(arg, names);
}

bool is_constant(const IntExpr& expr, int64_t value) {
  return expr.kind == IntExpr::Kind::kConstant && expr.value == value;
}

/// Folds two constants where the result exists and fits.
bool fold(IntExpr::Kind kind, int64_t a, int64_t b, int64_t* out) {
  switch (kind) {
    case IntExpr::Kind::kAdd:
      return !__builtin_add_overflow(a, b, out);
    case IntExpr::Kind::kSub:
      return !__builtin_sub_overflow(a, b, out);
    case IntExpr::Kind::kMul:
      return !__builtin_mul_overflow(a, b, out);
    case IntExpr::Kind::kDiv:
    case IntExpr::Kind::kMod:
      if (b == 0 || (a == kInt64Min && b == -1)) return false;
      *out = kind == IntExpr::Kind::kDiv ? floor_div(a, b) : floor_mod(a, b);
      return true;
    case IntExpr::Kind::kMin:
      *out = std::min(a, b);
      return true;
    case IntExpr::Kind::kMax:
      *out = std::max(a, b);
      return true;
    default:
      return false;
  }
}

}  // namespace

const OpInfo& op_info(Op op) { return kOps[static_cast<size_t>(op)]; }

const OpInfo* find_function(const std::string& name) {
  for (const OpInfo& row : kOps) {
    if (!row.infix && name == row.name) return &row;
  }
  return nullptr;
}

IntExpr int_constant(int64_t value) {
  IntExpr expr;
  expr.value = value;
  return expr;
}

IntExpr int_size(std::string name) {
  IntExpr expr;
  expr.kind = IntExpr::Kind::kSize;
  expr.name = std::move(name);
  return expr;
}

IntExpr int_axis(std::string name) {
  IntExpr expr;
  expr.kind = IntExpr::Kind::kAxis;
  expr.name = std::move(name);
  return expr;
}

IntExpr int_binary(IntExpr::Kind kind, IntExpr a, IntExpr b) {
  using Kind = IntExpr::Kind;
  int64_t folded = 0;
  if (a.kind == Kind::kConstant && b.kind == Kind::kConstant &&
      fold(kind, a.value, b.value, &folded)) {
    return int_constant(folded);
  }
  if ((kind == Kind::kAdd || kind == Kind::kSub) && is_constant(b, 0)) return a;
  if (kind == Kind::kAdd && is_constant(a, 0)) return b;
  if (kind == Kind::kMul && (is_constant(a, 0) || is_constant(b, 0))) return int_constant(0);
  if ((kind == Kind::kMul || kind == Kind::kDiv) && is_constant(b, 1)) return a;
  if (kind == Kind::kMul && is_constant(a, 1)) return b;
  if (kind == Kind::kMod && is_constant(b, 1)) return int_constant(0);
  IntExpr expr;
  expr.kind = kind;
  expr.args.push_back(std::move(a));
  expr.args.push_back(std::move(b));
  return expr;
}

IntExpr operator+(IntExpr a, IntExpr b) {
  return int_binary(IntExpr::Kind::kAdd, std::move(a), std::move(b));
}
IntExpr operator-(IntExpr a, IntExpr b) {
  return int_binary(IntExpr::Kind::kSub, std::move(a), std::move(b));
}
IntExpr operator*(IntExpr a, IntExpr b) {
  return int_binary(IntExpr::Kind::kMul, std::move(a), std::move(b));
}

Expr constant(double value) {
  Expr expr;
  expr.value = value;
  return expr;
}

Expr index_value(IntExpr index) {
  Expr expr;
  expr.kind = Expr::Kind::kIndex;
  expr.indices.push_back(std::move(index));
  return expr;
}

Expr load(std::string tensor, std::vector<IntExpr> indices) {
  Expr expr;
  expr.kind = Expr::Kind::kLoad;
  expr.name = std::move(tensor);
  expr.indices = std::move(indices);
  return expr;
}

Expr load_else(std::string tensor, std::vector<IntExpr> indices, Expr fallback) {
  Expr expr = load(std::move(tensor), std::move(indices));
  expr.args.push_back(std::move(fallback));
  return expr;
}

Expr apply(Op op, std::vector<Expr> args) {
  QUERN_CHECK(static_cast<int>(args.size()) == op_info(op).arity, "operands of an operation");
  Expr expr;
  expr.kind = Expr::Kind::kOp;
  expr.op = op;
  expr.args = std::move(args);
  return expr;
}

IntExpr substitute(const IntExpr& in, const std::vector<std::string>& names,
                   const std::vector<IntExpr>& by) {
  using Kind = IntExpr::Kind;
  if (in.kind == Kind::kAxis) {
    auto found = std::find(names.begin(), names.end(), in.name);
    return found == names.end() ? in : by[static_cast<size_t>(found - names.begin())];
  }
  if (in.args.empty()) return in;
  IntExpr out = in;
  for (IntExpr& arg : out.args) arg = substitute(arg, names, by);
  if (in.kind == Kind::kGather) return out;
  return int_binary(in.kind, std::move(out.args[0]), std::move(out.args[1]));
}

Expr substitute(const Expr& in, const std::vector<std::string>& names,
                const std::vector<IntExpr>& by) {
  Expr out = in;
  for (IntExpr& index : out.indices) index = substitute(index, names, by);
  for (Expr& arg : out.args) arg = substitute(arg, names, by);
  return out;
}

std::vector<std::string> axes_of(const IntExpr& expr) {
  std::vector<std::string> names;
  collect_axes(expr, names);
  return names;
}

std::vector<std::string> axes_of(const Expr& expr) {
  std::vector<std::string> names;
  collect_axes(expr, names);
  return names;
}

bool uses_axis(const IntExpr& expr, const std::string& axis) {
  if (expr.kind == IntExpr::Kind::kAxis) return expr.name == axis;
  return std::any_of(expr.args.begin(), expr.args.end(),
                     [&](const IntExpr& arg) { return uses_axis(arg, axis); });
}

bool uses_axis(const Expr& expr, const std::string& axis) {
  return std::any_of(expr.indices.begin(), expr.indices.end(),
                     [&](const IntExpr& index) { return uses_axis(index, axis); }) ||
         std::any_of(expr.args.begin(), expr.args.end(),
                     [&](const Expr& arg) { return uses_axis(arg, axis); });
}

std::vector<const Expr*> loads_of(const Expr& expr) {
  std::vector<const Expr*> loads;
  collect_loads(expr, loads);
  return loads;
}

std::vector<std::string> tensors_of(const Expr& expr) {
  std::vector<std::string> names;
  collect_tensors(expr, names);
  return names;
}

int64_t Affine::coefficient(const std::string& axis) const {
  for (const auto& [name, factor] : terms) {
    if (name == axis) return factor;
  }
  return 0;
}

}  // namespace quern::ir
