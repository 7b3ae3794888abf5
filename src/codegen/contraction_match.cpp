// SPDX-License-Identifier: Apache-2.0
#include "codegen/contraction_match.h"

#include <algorithm>
#include <utility>

namespace quern {

using ir::Axis;
using ir::Expr;
using ir::IntExpr;
using ir::Op;
using IntKind = ir::IntExpr::Kind;

namespace {

bool is_number(const Expr& expr, double value) {
  return expr.kind == Expr::Kind::kConstant && expr.value == value;
}
bool is_op(const Expr& expr, Op op) { return expr.kind == Expr::Kind::kOp && expr.op == op; }

struct Term {
  IntExpr expr;
  bool negative = false;
};

void flatten(const IntExpr& expr, bool negative, std::vector<Term>& terms) {
  if (expr.kind == IntKind::kAdd || expr.kind == IntKind::kSub) {
    flatten(expr.args[0], negative, terms);
    flatten(expr.args[1], negative != (expr.kind == IntKind::kSub), terms);
    return;
  }
  // (a + b) * c with c free of axes distributes, so that each term can find its slot.
  if (expr.kind == IntKind::kMul) {
    for (int side = 0; side < 2; ++side) {
      const IntExpr& sum = expr.args[static_cast<size_t>(side)];
      const IntExpr& factor = expr.args[static_cast<size_t>(1 - side)];
      const bool is_sum = sum.kind == IntKind::kAdd || sum.kind == IntKind::kSub;
      if (is_sum && axes_of(factor).empty()) {
        flatten(sum.args[0] * factor, negative, terms);
        flatten(sum.args[1] * factor, negative != (sum.kind == IntKind::kSub), terms);
        return;
      }
    }
  }
  terms.push_back({expr, negative});
}

IntExpr sum(const std::vector<Term>& terms) {
  IntExpr total = ir::int_constant(0);
  for (const Term& term : terms) total = term.negative ? total - term.expr : total + term.expr;
  return total;
}

/// Takes multiples of the divisor out of a division or a remainder.
IntExpr simplify_division(const IntExpr& expr) {
  const IntExpr& d = expr.args[1];
  std::vector<Term> terms, rest, outside;
  flatten(expr.args[0], false, terms);
  for (const Term& term : terms) {
    auto whole = divide_exactly(term.expr, d);
    if (whole)
      outside.push_back({*whole, term.negative});
    else
      rest.push_back(term);
  }
  if (outside.empty()) return expr;
  IntExpr inner = ir::int_binary(expr.kind, sum(rest), d);
  if (rest.empty()) inner = ir::int_constant(0);
  return expr.kind == IntKind::kDiv ? sum(outside) + inner : inner;
}

/// Simplifies divisions everywhere; sums stay as they are.
IntExpr simplify(const IntExpr& expr) {
  IntExpr out = expr;
  for (IntExpr& arg : out.args) arg = simplify(arg);
  if (out.kind == IntKind::kDiv || out.kind == IntKind::kMod) return simplify_division(out);
  return out;
}

Expr simplify(const Expr& expr) {
  Expr out = expr;
  for (IntExpr& index : out.indices) index = simplify(index);
  for (Expr& arg : out.args) arg = simplify(arg);
  return out;
}

void split_conjunction(const Expr& condition, std::vector<Expr>& out) {
  if (is_op(condition, Op::kAnd)) {
    for (const Expr& arg : condition.args) split_conjunction(arg, out);
    return;
  }
  out.push_back(condition);
}

struct Product {
  std::vector<Expr> factors, conditions;
  double scale = 1;
};

/// Flattens a product, negations and `select(c, x, 0)` included.
void collect(const Expr& expr, Product& product) {
  if (is_op(expr, Op::kMul)) {
    collect(expr.args[0], product);
    collect(expr.args[1], product);
  } else if (is_op(expr, Op::kNeg)) {
    product.scale = -product.scale;
    collect(expr.args[0], product);
  } else if (is_op(expr, Op::kSelect) && is_number(expr.args[2], 0)) {
    split_conjunction(expr.args[0], product.conditions);
    collect(expr.args[1], product);
  } else if (is_op(expr, Op::kDiv) && expr.args[1].kind == Expr::Kind::kConstant) {
    product.factors.push_back(ir::apply(Op::kDiv, {ir::constant(1), expr.args[1]}));
    collect(expr.args[0], product);
  } else if (expr.kind == Expr::Kind::kConstant) {
    product.scale *= expr.value;
  } else {
    product.factors.push_back(expr);
  }
}

bool uses_any(const Expr& expr, const std::vector<Axis>& axes) {
  return std::any_of(axes.begin(), axes.end(),
                     [&](const Axis& axis) { return uses_axis(expr, axis.name); });
}

bool reads_only_f32(const ir::Program& program, const Expr& expr) {
  for (const Expr* load : loads_of(expr)) {
    if (program.type_of(load->name) != DType::kF32) return false;
  }
  return true;
}

Expr multiply(const std::vector<Expr>& factors) {
  if (factors.empty()) return ir::constant(1);
  Expr out = factors[0];
  for (size_t i = 1; i < factors.size(); ++i) out = ir::apply(Op::kMul, {out, factors[i]});
  return out;
}

/// The remainder conditions `(…) mod s == 0` in which `axis` has coefficient one.
std::optional<IntExpr> phase_stride(const Expr& condition, const std::string& axis) {
  if (!is_op(condition, Op::kEq)) return std::nullopt;
  auto left = as_int(condition.args[0]);
  if (!left || left->kind != IntKind::kMod || !axes_of(left->args[1]).empty()) return std::nullopt;
  std::vector<Term> terms;
  flatten(left->args[0], false, terms);
  for (const Term& term : terms) {
    if (term.expr == ir::int_axis(axis)) return left->args[1];
  }
  return std::nullopt;
}

struct Builder {
  Contraction out;
  std::vector<Axis> axes;  ///< of the output, after splitting
  Product product;

  void substitute_axis(const std::string& axis, const IntExpr& by) {
    auto apply_to = [&](std::vector<Expr>& list) {
      for (Expr& expr : list) expr = simplify(ir::substitute(expr, {axis}, {by}));
    };
    apply_to(product.factors);
    apply_to(product.conditions);
    for (IntExpr& index : out.out_indices) index = ir::substitute(index, {axis}, {by});
  }

  void split_phases() {
    const std::vector<Axis> before = axes;
    for (const Axis& axis : before) {
      std::optional<IntExpr> stride;
      for (const Expr& condition : product.conditions) {
        if (!stride) stride = phase_stride(condition, axis.name);
      }
      if (!stride) continue;
      const std::string phase = "phase_" + axis.name;
      const IntExpr by = ir::int_axis(axis.name) * *stride + ir::int_size(phase);
      substitute_axis(axis.name, by);
      for (Axis& mine : axes) {
        if (mine.name != axis.name) continue;
        // ceil((extent - phase) / stride)
        mine.extent = ir::int_binary(
            IntKind::kDiv, mine.extent - ir::int_size(phase) + *stride - ir::int_constant(1),
            *stride);
      }
      out.phases.push_back({phase, axis.name, *stride});
    }
  }

  /// The divisor by which a factor reads `axis` (`axis / d`) and nothing else, if so.
  static std::optional<IntExpr> group_divisor(const Expr& factor, const std::string& axis) {
    std::optional<IntExpr> found;
    bool bare = false;
    auto walk = [&](auto&& self, const IntExpr& expr) -> void {
      if (expr.kind == IntKind::kDiv && expr.args[0] == ir::int_axis(axis) &&
          axes_of(expr.args[1]).empty()) {
        if (found && !(*found == expr.args[1])) bare = true;
        found = expr.args[1];
        return;
      }
      if (expr.kind == IntKind::kAxis && expr.name == axis) bare = true;
      for (const IntExpr& arg : expr.args) self(self, arg);
    };
    for (const Expr* load : loads_of(factor)) {
      for (const IntExpr& index : load->indices) walk(walk, index);
    }
    return bare ? std::nullopt : found;
  }

  /// Groups: an axis that one factor reads as `axis / d` becomes (group, member).
  void split_groups() {
    const std::vector<Axis> before = axes;
    for (const Axis& axis : before) {
      std::optional<IntExpr> d;
      for (const Expr& factor : product.factors) {
        if (!d) d = group_divisor(factor, axis.name);
      }
      if (!d) continue;
      const std::string member = axis.name + "_member";
      const IntExpr by = ir::int_axis(axis.name) * *d + ir::int_axis(member);
      substitute_axis(axis.name, by);
      // member < d, so that (group * d + member) / d is the group.
      drop_member(member, *d);
      out.divides.push_back(ir::int_binary(IntKind::kMod, axis.extent, *d));
      for (size_t i = 0; i < axes.size(); ++i) {
        if (axes[i].name != axis.name) continue;
        axes[i].extent = ir::int_binary(IntKind::kDiv, axis.extent, *d);
        axes.insert(axes.begin() + static_cast<std::ptrdiff_t>(i) + 1, Axis{member, *d});
        break;
      }
    }
  }

  void drop_member(const std::string& member, const IntExpr& d) {
    const IntExpr gone = ir::int_binary(IntKind::kDiv, ir::int_axis(member), d);
    const IntExpr same = ir::int_binary(IntKind::kMod, ir::int_axis(member), d);
    auto walk = [&](auto&& self, IntExpr& expr) -> void {
      for (IntExpr& arg : expr.args) self(self, arg);
      if (expr == gone) {
        expr = ir::int_constant(0);
      } else if (expr == same) {
        expr = ir::int_axis(member);
      } else if (expr.kind == IntKind::kAdd || expr.kind == IntKind::kMul) {
        expr = ir::int_binary(expr.kind, expr.args[0], expr.args[1]);
      }
    };
    auto walk_expr = [&](auto&& self, Expr& expr) -> void {
      for (IntExpr& index : expr.indices) walk(walk, index);
      for (Expr& arg : expr.args) self(self, arg);
    };
    for (Expr& factor : product.factors) walk_expr(walk_expr, factor);
    for (Expr& condition : product.conditions) walk_expr(walk_expr, condition);
  }

  /// Gives every condition a home: the k table, or the factor that reads its axes.
  bool place_conditions(const std::vector<Axis>& k) {
    for (const Expr& condition : product.conditions) {
      const auto names = axes_of(condition);
      bool only_k = true, in_a = true, in_b = true;
      for (const std::string& name : names) {
        only_k &= has_axis(k, name);
        in_a &= !has_axis(out.n, name);
        in_b &= !has_axis(out.m, name);
      }
      if (only_k && tensors_of(condition).empty())
        out.k_filters.push_back(condition);
      else if (in_a)
        out.a.conditions.push_back(condition);
      else if (in_b)
        out.b.conditions.push_back(condition);
      else
        return false;
    }
    return true;
  }

  bool classify(const std::vector<Axis>& k) {
    std::vector<Expr> factors, post;
    for (const Expr& factor : product.factors)
      (uses_any(factor, k) ? factors : post).push_back(factor);
    if (product.scale != 1) post.push_back(ir::constant(product.scale));
    out.post = multiply(post);
    if (factors.size() < 2 || factors.size() > 6) return false;
    // All ways to give the factors two sides; the first has factor 0.
    for (unsigned mask = 1; mask < 1u << (factors.size() - 1); ++mask) {
      std::vector<Expr> sides[2];
      for (size_t i = 0; i < factors.size(); ++i) {
        sides[i > 0 && (mask >> (i - 1) & 1)].push_back(factors[i]);
      }
      if (assign(multiply(sides[0]), multiply(sides[1]), k)) return true;
    }
    return false;
  }

  bool assign(Expr a, Expr b, const std::vector<Axis>& k) {
    out.batch.clear(), out.m.clear(), out.n.clear();
    for (const Axis& axis : axes) {
      const bool in_a = uses_axis(a, axis.name), in_b = uses_axis(b, axis.name);
      if (in_a == in_b)
        out.batch.push_back(axis);
      else
        (in_a ? out.m : out.n).push_back(axis);
    }
    if (out.m.empty() || out.n.empty()) return false;
    out.k = k;
    out.a = {std::move(a), {}};
    out.b = {std::move(b), {}};
    if (has_axis(out.m, axes.back().name)) {
      std::swap(out.m, out.n);
      std::swap(out.a, out.b);
    }
    out.k_filters.clear();
    return place_conditions(k);
  }
};

}  // namespace

std::optional<IntExpr> divide_exactly(const IntExpr& term, const IntExpr& d) {
  if (term == d) return ir::int_constant(1);
  if (term.kind != IntKind::kMul) return std::nullopt;
  for (size_t side = 0; side < 2; ++side) {
    if (auto part = divide_exactly(term.args[side], d)) return *part * term.args[1 - side];
  }
  return std::nullopt;
}

bool has_axis(const std::vector<Axis>& axes, const std::string& name) {
  return std::any_of(axes.begin(), axes.end(), [&](const Axis& a) { return a.name == name; });
}

std::optional<IntExpr> as_int(const Expr& expr) {
  if (expr.kind == Expr::Kind::kIndex) return expr.indices[0];
  if (expr.kind == Expr::Kind::kConstant &&
      expr.value == static_cast<double>(static_cast<int64_t>(expr.value))) {
    return ir::int_constant(static_cast<int64_t>(expr.value));
  }
  if (expr.kind != Expr::Kind::kOp || expr.args.size() != 2) return std::nullopt;
  auto a = as_int(expr.args[0]), b = as_int(expr.args[1]);
  if (!a || !b) return std::nullopt;
  if (expr.op == Op::kAdd) return *a + *b;
  if (expr.op == Op::kSub) return *a - *b;
  if (expr.op == Op::kMul) return *a * *b;
  return std::nullopt;
}

std::optional<Parts> separate(const IntExpr& index, const std::vector<Axis>& own,
                              const std::vector<Axis>& k) {
  std::vector<Term> terms, parts[3];
  flatten(simplify(index), false, terms);
  for (const Term& term : terms) {
    int slot = -1;
    for (const std::string& name : axes_of(term.expr)) {
      const int mine = has_axis(own, name) ? 1 : has_axis(k, name) ? 2 : 0;
      if (slot >= 0 && slot != mine) return std::nullopt;
      slot = mine;
    }
    parts[slot < 0 ? 0 : slot].push_back(term);
  }
  return Parts{sum(parts[0]), sum(parts[1]), sum(parts[2])};
}

std::optional<std::vector<IntExpr>> nonnegative_form(const Expr& condition) {
  if (condition.kind != Expr::Kind::kOp || condition.args.size() != 2) return std::nullopt;
  auto a = as_int(condition.args[0]), b = as_int(condition.args[1]);
  if (!a || !b) return std::nullopt;
  const IntExpr one = ir::int_constant(1);
  switch (condition.op) {
    case Op::kLt:
      return std::vector<IntExpr>{*b - *a - one};
    case Op::kLe:
      return std::vector<IntExpr>{*b - *a};
    case Op::kGt:
      return std::vector<IntExpr>{*a - *b - one};
    case Op::kGe:
      return std::vector<IntExpr>{*a - *b};
    case Op::kEq:
      return std::vector<IntExpr>{*a - *b, *b - *a};
    default:
      return std::nullopt;
  }
}

std::optional<Contraction> match_contraction(const ir::Program& program,
                                             const ir::Statement& statement, bool phase_split) {
  if (statement.kind != ir::Statement::Kind::kReduce || statement.monoid != ir::Monoid::kSum ||
      statement.type != DType::kF32 || !reads_only_f32(program, statement.body)) {
    return std::nullopt;
  }
  Builder builder;
  collect(statement.body, builder.product);
  builder.axes = statement.axes;
  for (const Axis& axis : statement.axes) {
    builder.out.out_axes.push_back(axis.name);
    builder.out.out_indices.push_back(ir::int_axis(axis.name));
  }
  if (phase_split) builder.split_phases();
  if (builder.classify(statement.reduce_axes)) return builder.out;
  builder.split_groups();
  if (builder.classify(statement.reduce_axes)) return builder.out;
  return std::nullopt;
}

}  // namespace quern
