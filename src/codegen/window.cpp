// SPDX-License-Identifier: Apache-2.0
#include "codegen/window.h"

#include <algorithm>

#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Statement;

constexpr const char* kRowAxis = "1along";  ///< the axis of the row of partial results

/// A positive literal coefficient of an axis, or 0.
int64_t step_of(const IntExpr& index, const std::string& axis) {
  const std::optional<IntExpr> step = coefficient(index, axis);
  return step && step->kind == IntExpr::Kind::kConstant ? std::max<int64_t>(step->value, 0) : 0;
}

/// The last index of the load is `step * place + dilation * tap + start`.
struct Slide {
  size_t tap = 0;  ///< which reduced axis
  int64_t step = 0;
  int64_t dilation = 0;
  IntExpr start;
};

std::optional<Slide> slide_of(const Statement& statement) {
  const Expr& load = statement.body;
  const IntExpr& last = load.indices.back();
  const std::string& place = statement.axes.back().name;
  std::vector<std::string> names;
  std::optional<Slide> slide;
  for (size_t r = 0; r < statement.reduce_axes.size(); ++r) {
    const std::string& name = statement.reduce_axes[r].name;
    if (!ir::uses_axis(last, name)) continue;
    if (slide) return std::nullopt;
    slide = Slide{r, step_of(last, place), step_of(last, name), {}};
  }
  if (!slide || slide->step == 0 || slide->dilation == 0) return std::nullopt;
  const ir::Axis& tap = statement.reduce_axes[slide->tap];
  if (tap.extent.kind != IntExpr::Kind::kConstant) return std::nullopt;
  const bool gaps = slide->dilation == 1 ? slide->step > tap.extent.value : slide->step != 1;
  if (gaps) return std::nullopt;
  for (size_t d = 0; d + 1 < load.indices.size(); ++d) {
    if (ir::uses_axis(load.indices[d], place) || ir::uses_axis(load.indices[d], tap.name)) {
      return std::nullopt;
    }
  }
  for (size_t a = 0; a + 1 < statement.axes.size(); ++a) {
    if (ir::uses_axis(last, statement.axes[a].name)) return std::nullopt;
  }
  const IntExpr zero = ir::int_constant(0);
  slide->start = ir::substitute(last, {place, tap.name}, {zero, zero});
  return slide;
}

bool is_window(const Statement& statement) {
  if (statement.kind != Statement::Kind::kReduce || statement.axes.empty()) return false;
  if (statement.monoid == ir::Monoid::kArgMax || statement.monoid == ir::Monoid::kArgMin) {
    return false;
  }
  const Expr& body = statement.body;
  const bool plain = body.args.empty() || body.args[0].kind == Expr::Kind::kConstant;
  return statement.reduce_axes.size() >= 2 && body.kind == Expr::Kind::kLoad &&
         !body.indices.empty() && plain && statement.type == DType::kF32;
}

/// Whether windows that differ in an axis other than the last read nothing in common: each element
/// is then loaded once.
bool windows_apart(const Statement& statement, size_t slide) {
  for (size_t r = 0; r < statement.reduce_axes.size(); ++r) {
    const ir::Axis& tap = statement.reduce_axes[r];
    if (r == slide) continue;
    if (tap.extent.kind != IntExpr::Kind::kConstant) return false;
    bool apart = false;
    for (const IntExpr& index : statement.body.indices) {
      for (const ir::Axis& axis : statement.axes) {
        apart |= step_of(index, tap.name) > 0 &&
                 step_of(index, axis.name) >= tap.extent.value * step_of(index, tap.name);
      }
    }
    if (!apart) return false;
  }
  return true;
}

bool is_idempotent(ir::Monoid monoid) {
  return monoid == ir::Monoid::kMax || monoid == ir::Monoid::kMin;
}

/// Whether pairs of neighbours cover a window of neighbours: without overlap, or where that does
/// not matter and steps stay equal.
bool pairs_cover(ir::Monoid monoid, int64_t taps, int64_t dilation) {
  return dilation == 1 && taps >= 2 && (taps % 2 == 0 || (taps == 3 && is_idempotent(monoid)));
}

}  // namespace

std::optional<SplitWindow> split_window(const ir::Program& program,
                                        const std::vector<Statement>& statements) {
  if (!is_window(statements[0])) return std::nullopt;
  if (program.type_of(statements[0].body.name) != DType::kF32) return std::nullopt;
  const std::optional<Slide> slide = slide_of(statements[0]);
  if (!slide) return std::nullopt;
  const auto at = static_cast<std::ptrdiff_t>(slide->tap);
  const ir::Axis tap = statements[0].reduce_axes[slide->tap];
  const ir::Axis place = statements[0].axes.back();
  SplitWindow split{program, statements};

  Statement row = statements[0];
  row.name = "1" + row.name;
  row.is_output = false;
  row.reduce_axes.erase(row.reduce_axes.begin() + at);
  const IntExpr one = ir::int_constant(1);
  const IntExpr dilation = ir::int_constant(slide->dilation);
  const IntExpr span = ir::int_constant((tap.extent.value - 1) * slide->dilation + 1);
  row.axes.back() = {kRowAxis, (place.extent - one) * ir::int_constant(slide->step) + span};
  row.body.indices.back() = ir::int_axis(kRowAxis) + slide->start;

  split.step = slide->step;
  split.apart = windows_apart(statements[0], slide->tap);
  split.pairs = pairs_cover(row.monoid, tap.extent.value, slide->dilation);
  const bool overlap = tap.extent.value % 2 != 0;
  Statement& along = split.statements[0];
  along.reduce_axes = {tap};
  if (split.pairs && !overlap) along.reduce_axes[0].extent = ir::int_constant(tap.extent.value / 2);
  if (split.pairs && overlap) along.reduce_axes[0].extent = ir::int_constant(2);
  std::vector<IntExpr> indices;
  for (const ir::Axis& axis : along.axes) indices.push_back(ir::int_axis(axis.name));
  const IntExpr place_start = indices.back() * ir::int_constant(slide->step);
  const IntExpr between = split.pairs && !overlap ? ir::int_constant(2) : dilation;
  indices.back() = place_start + ir::int_axis(tap.name) * between;
  if (split.pairs) indices.back() = std::move(indices.back()) + one;
  along.body = ir::load(row.name, std::move(indices));

  split.program.statements.push_back(row);
  split.statements.insert(split.statements.begin(), std::move(row));
  return split;
}

}  // namespace quern
