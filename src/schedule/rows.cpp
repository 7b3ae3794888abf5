// SPDX-License-Identifier: Apache-2.0
#include "schedule/rows.h"

#include <algorithm>

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Op;
using ir::Statement;

/// The value of an inlined map at `indices`; guarded where the load was.
Expr inlined_value(const Statement& producer, const Expr& load) {
  std::vector<std::string> names;
  for (const ir::Axis& axis : producer.axes) names.push_back(axis.name);
  Expr value = ir::substitute(producer.body, names, load.indices);
  if (load.args.empty()) return value;
  std::optional<Expr> inside;
  for (size_t d = 0; d < load.indices.size(); ++d) {
    Expr low = ir::apply(Op::kGe, {ir::index_value(load.indices[d]), ir::constant(0)});
    Expr high = ir::apply(
        Op::kLt, {ir::index_value(load.indices[d]), ir::index_value(producer.axes[d].extent)});
    Expr both = ir::apply(Op::kAnd, {std::move(low), std::move(high)});
    inside = inside ? ir::apply(Op::kAnd, {std::move(*inside), std::move(both)}) : std::move(both);
  }
  if (!inside) return value;
  return ir::apply(Op::kSelect, {std::move(*inside), std::move(value), load.args[0]});
}

Expr inline_loads(const Expr& in, const std::vector<Statement>& producers) {
  Expr out = in;
  for (Expr& arg : out.args) arg = inline_loads(arg, producers);
  if (out.kind != Expr::Kind::kLoad) return out;
  for (const Statement& producer : producers) {
    if (producer.name == out.name) return inlined_value(producer, out);
  }
  return out;
}

const Statement* find(const std::vector<Statement>& statements, const std::string& name) {
  for (const Statement& statement : statements) {
    if (statement.name == name) return &statement;
  }
  return nullptr;
}

bool is_axis(const IntExpr& expr, const std::string& name) {
  return expr.kind == IntExpr::Kind::kAxis && expr.name == name;
}

/// The factor K of an access `[…, axis / K, …]` at position `r` to another statement of the group.
std::optional<IntExpr> split_factor(const Statement& statement, int r,
                                    const std::vector<Statement>& group) {
  const std::string& axis = statement.axes[static_cast<size_t>(r)].name;
  for (const Expr* load : ir::loads_of(statement.body)) {
    if (find(group, load->name) == nullptr || static_cast<int>(load->indices.size()) <= r) continue;
    const IntExpr& index = load->indices[static_cast<size_t>(r)];
    if (index.kind == IntExpr::Kind::kDiv && is_axis(index.args[0], axis) &&
        ir::axes_of(index.args[1]).empty()) {
      return index.args[1];
    }
  }
  return std::nullopt;
}

/// Whether `index` is `row * factor + local` for an axis `local` of extent `factor`.
bool within_block(const Statement& reader, const IntExpr& index, const std::string& row,
                  const IntExpr& factor) {
  if (index.kind != IntExpr::Kind::kAdd) return false;
  const IntExpr& base = index.args[0];
  const IntExpr& local = index.args[1];
  if (base.kind != IntExpr::Kind::kMul || local.kind != IntExpr::Kind::kAxis) return false;
  const bool scaled = (is_axis(base.args[0], row) && base.args[1] == factor) ||
                      (is_axis(base.args[1], row) && base.args[0] == factor);
  auto fits = [&](const ir::Axis& axis) {
    return axis.name == local.name && axis.extent == factor;
  };
  return scaled && (std::any_of(reader.axes.begin(), reader.axes.end(), fits) ||
                    std::any_of(reader.reduce_axes.begin(), reader.reduce_axes.end(), fits));
}

bool access_in_row(const Statement& reader, const RowBinding& own, const RowBinding& other,
                   const std::string& axis, const IntExpr& index) {
  if (own.factor && !other.factor) {
    return index.kind == IntExpr::Kind::kDiv && is_axis(index.args[0], axis) &&
           index.args[1] == *own.factor;
  }
  if (!own.factor && other.factor) return within_block(reader, index, axis, *other.factor);
  return is_axis(index, axis) && own.factor == other.factor;
}

/// Names of gathered tensors in the indices of an expression.
void gathers_in(const IntExpr& expr, std::vector<std::string>* names) {
  if (expr.kind == IntExpr::Kind::kGather) names->push_back(expr.name);
  for (const IntExpr& arg : expr.args) gathers_in(arg, names);
}

void gathers_in(const Expr& expr, std::vector<std::string>* names) {
  for (const IntExpr& index : expr.indices) gathers_in(index, names);
  for (const Expr& arg : expr.args) gathers_in(arg, names);
}

bool accesses_stay_in_rows(const std::vector<Statement>& statements, const RowPlan& plan) {
  for (size_t s = 0; s < statements.size(); ++s) {
    std::vector<std::string> gathered;
    gathers_in(statements[s].body, &gathered);
    for (const std::string& name : gathered) {
      if (find(statements, name) != nullptr) return false;
    }
    for (const Expr* load : ir::loads_of(statements[s].body)) {
      const Statement* made = find(statements, load->name);
      if (made == nullptr) continue;
      const size_t q = static_cast<size_t>(made - statements.data());
      for (size_t r = 0; r < static_cast<size_t>(plan.rows); ++r) {
        if (!access_in_row(statements[s], plan.bindings[s][r], plan.bindings[q][r],
                           statements[s].axes[r].name, load->indices[r])) {
          return false;
        }
      }
    }
  }
  return true;
}

std::optional<RowPlan> plan_with_reference(const std::vector<Statement>& statements, int rows,
                                           int reference) {
  RowPlan plan;
  plan.rows = rows;
  plan.reference = reference;
  const Statement& model = statements[static_cast<size_t>(reference)];
  for (const Statement& statement : statements) {
    if (static_cast<int>(statement.axes.size()) < rows) return std::nullopt;
    if (statement.kind == Statement::Kind::kScan && statement.scan_axis < rows) return std::nullopt;
    std::vector<RowBinding> bindings;
    for (int r = 0; r < rows; ++r) {
      const size_t at = static_cast<size_t>(r);
      RowBinding binding;
      if (statement.axes[at].extent != model.axes[at].extent) {
        binding.factor = split_factor(statement, r, statements);
        // Only the last row axis may be cut in blocks: what a row holds then stays contiguous.
        if (!binding.factor || r + 1 != rows) return std::nullopt;
      }
      bindings.push_back(std::move(binding));
    }
    plan.bindings.push_back(std::move(bindings));
  }
  if (!accesses_stay_in_rows(statements, plan)) return std::nullopt;
  return plan;
}

/// A cost of reading along `axis`: unit stride is cheap, a gather dear.
int lane_cost(const Statement& statement, const std::string& axis) {
  int cost = 0;
  for (const Expr* load : ir::loads_of(statement.body)) {
    bool unit = true;
    bool used = false;
    bool affine = true;
    for (size_t d = 0; d < load->indices.size(); ++d) {
      std::optional<IntExpr> c = coefficient(load->indices[d], axis);
      if (!c) affine = false;
      if (!c || *c == ir::int_constant(0)) continue;
      used = true;
      if (d + 1 != load->indices.size() || *c != ir::int_constant(1)) unit = false;
    }
    cost += !affine ? 12 : !used ? 0 : unit ? 1 : 8;
  }
  return cost;
}

}  // namespace

std::optional<IntExpr> coefficient(const IntExpr& expr, const std::string& axis) {
  using Kind = IntExpr::Kind;
  if (!ir::uses_axis(expr, axis)) return ir::int_constant(0);
  if (expr.kind == Kind::kAxis) return ir::int_constant(1);
  if (expr.kind == Kind::kAdd || expr.kind == Kind::kSub) {
    std::optional<IntExpr> a = coefficient(expr.args[0], axis);
    std::optional<IntExpr> b = coefficient(expr.args[1], axis);
    if (!a || !b) return std::nullopt;
    return ir::int_binary(expr.kind, std::move(*a), std::move(*b));
  }
  if (expr.kind != Kind::kMul) return std::nullopt;
  for (size_t side = 0; side < 2; ++side) {
    const IntExpr& other = expr.args[1 - side];
    if (!ir::axes_of(other).empty()) continue;
    std::optional<IntExpr> inner = coefficient(expr.args[side], axis);
    if (!inner) return std::nullopt;
    return std::move(*inner) * other;
  }
  return std::nullopt;
}

bool walks_windows(const Statement& statement) {
  const auto uses_any = [](const ir::IntExpr& index, const std::vector<ir::Axis>& axes) {
    return std::any_of(axes.begin(), axes.end(),
                       [&](const ir::Axis& axis) { return ir::uses_axis(index, axis.name); });
  };
  for (const ir::Expr* load : ir::loads_of(statement.body)) {
    for (const ir::IntExpr& index : load->indices) {
      if (uses_any(index, statement.axes) && uses_any(index, statement.reduce_axes)) return true;
    }
  }
  return false;
}

bool online_pair(const std::vector<Statement>& statements, const std::string& largest,
                 const std::string& total) {
  const Statement* m = find(statements, largest);
  const Statement* s = find(statements, total);
  if (m == nullptr || s == nullptr || m->kind != Statement::Kind::kReduce ||
      s->kind != Statement::Kind::kReduce || m->monoid != ir::Monoid::kMax ||
      s->monoid != ir::Monoid::kSum || m->axes.size() != s->axes.size() ||
      m->reduce_axes.size() != s->reduce_axes.size()) {
    return false;
  }
  // The body of the maximum, with the sum's names for the axes.
  std::vector<std::string> names;
  std::vector<IntExpr> by;
  std::vector<IntExpr> point;
  auto match = [&](const ir::Axis& mine, const ir::Axis& theirs) {
    names.push_back(mine.name);
    by.push_back(ir::int_axis(theirs.name));
    return mine.extent == theirs.extent;
  };
  for (size_t a = 0; a < m->axes.size(); ++a) {
    if (!match(m->axes[a], s->axes[a])) return false;
    point.push_back(by.back());
  }
  for (size_t a = 0; a < m->reduce_axes.size(); ++a) {
    if (!match(m->reduce_axes[a], s->reduce_axes[a])) return false;
  }
  const Expr body = ir::substitute(m->body, names, by);
  return s->body ==
         ir::apply(Op::kExp, {ir::apply(Op::kSub, {body, ir::load(largest, std::move(point))})});
}

std::vector<Statement> inline_group(const ir::Program& program, const Group& group) {
  std::vector<Statement> inlined;
  std::vector<Statement> kept;
  for (int index : group.statements) {
    Statement statement = program.statements[static_cast<size_t>(index)];
    statement.body = inline_loads(statement.body, inlined);
    const bool gone =
        std::find(group.inlined.begin(), group.inlined.end(), index) != group.inlined.end();
    (gone ? inlined : kept).push_back(std::move(statement));
  }
  return kept;
}

std::optional<RowPlan> share_rows(const std::vector<Statement>& statements, int rows) {
  for (size_t reference = 0; reference < statements.size(); ++reference) {
    if (static_cast<int>(statements[reference].axes.size()) < rows) return std::nullopt;
    if (auto plan = plan_with_reference(statements, rows, static_cast<int>(reference))) return plan;
  }
  return std::nullopt;
}

RowPlan most_rows(const std::vector<Statement>& statements,
                  const std::vector<int>& vector_positions) {
  size_t deepest = 0;
  for (const Statement& s : statements) {
    deepest = std::max(deepest, s.axes.size() + s.reduce_axes.size());
  }
  int limit = 1 << 20;
  for (size_t s = 0; s < statements.size(); ++s) {
    limit = std::min(limit, static_cast<int>(statements[s].axes.size()));
    const bool row_scalar =
        statements[s].kind == Statement::Kind::kMap && statements[s].axes.size() < deepest;
    if (vector_positions[s] >= 0 && !row_scalar) limit = std::min(limit, vector_positions[s]);
    if (statements[s].kind == Statement::Kind::kScan) {
      limit = std::min(limit, statements[s].scan_axis);
    }
  }
  for (int rows = limit; rows > 0; --rows) {
    if (auto plan = share_rows(statements, rows)) return *plan;
  }
  RowPlan flat;
  flat.bindings.resize(statements.size());
  return flat;
}

bool pointwise_chain(const std::vector<Statement>& statements) {
  for (const Statement& statement : statements) {
    if (statement.axes.size() != statements[0].axes.size()) return false;
    if (&statement != &statements[0] && statement.kind != Statement::Kind::kMap) return false;
    for (size_t a = 0; a < statement.axes.size(); ++a) {
      if (statement.axes[a].extent != statements[0].axes[a].extent) return false;
    }
    std::vector<std::string> gathered;
    gathers_in(statement.body, &gathered);
    for (const std::string& name : gathered) {
      if (find(statements, name) != nullptr) return false;
    }
    for (const Expr* load : ir::loads_of(statement.body)) {
      if (find(statements, load->name) == nullptr) continue;
      for (size_t d = 0; d < load->indices.size(); ++d) {
        if (!is_axis(load->indices[d], statement.axes[d].name)) return false;
      }
    }
  }
  return true;
}

std::string best_lanes(const Statement& statement, const ir::Sizes& sizes) {
  constexpr int64_t kLanes = 16;
  std::string best;
  double best_cost = 0;
  auto consider = [&](const ir::Axis& axis, double penalty) {
    const int64_t extent = std::max<int64_t>(1, ir::evaluate(axis.extent, sizes));
    const int64_t padded = (extent + kLanes - 1) / kLanes * kLanes;
    const double waste = static_cast<double>(padded) / static_cast<double>(extent);
    const double cost = (lane_cost(statement, axis.name) + 1) * waste * penalty;
    if (!best.empty() && cost >= best_cost) return;
    best = axis.name;
    best_cost = cost;
  };
  if (statement.kind == Statement::Kind::kScan) {
    consider(statement.axes.back(), 1);
    return best;
  }
  if (!statement.axes.empty()) consider(statement.axes.back(), 1);
  for (const ir::Axis& axis : statement.reduce_axes) consider(axis, 1.2);
  return best;
}

int vector_position(const Statement& statement, int forced) {
  const int spatial = static_cast<int>(statement.axes.size());
  if (forced >= 0) return forced < spatial ? forced : -1;
  if (statement.kind != Statement::Kind::kReduce) return spatial - 1;
  if (spatial == 0) return -1;
  const int outer = lane_cost(statement, statement.axes.back().name);
  const int inner = lane_cost(statement, statement.reduce_axes.back().name);
  return outer <= inner ? spatial - 1 : -1;
}

const ir::Axis* vector_axis(const Statement& statement, int forced) {
  const size_t spatial = statement.axes.size();
  const int position = vector_position(statement, forced);
  if (position >= 0) return &statement.axes[static_cast<size_t>(position)];
  if (statement.reduce_axes.empty()) return nullptr;
  if (forced < 0) return &statement.reduce_axes.back();
  return &statement.reduce_axes[static_cast<size_t>(forced) - spatial];
}

}  // namespace quern
