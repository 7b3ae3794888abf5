// SPDX-License-Identifier: Apache-2.0
#include "codegen/window_clip.h"

#include <fmt/format.h>

#include <limits>

#include "codegen/group.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;

bool starts_from(ir::Monoid monoid, const Expr& expr) {
  if (expr.kind != Expr::Kind::kConstant) return false;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  switch (monoid) {
    case ir::Monoid::kSum:
      return expr.value == 0;
    case ir::Monoid::kProd:
      return expr.value == 1;
    case ir::Monoid::kMax:
      return expr.value == -kInfinity;
    case ir::Monoid::kMin:
      return expr.value == kInfinity;
    default:
      return false;
  }
}

/// A row axis that runs over a whole dimension.
bool whole_row(const IntExpr& index, const IntExpr& extent, const std::vector<IntExpr>& rows) {
  for (size_t r = 0; r < rows.size(); ++r) {
    if (index == ir::int_axis(std::to_string(r)) && rows[r] == extent) return true;
  }
  return false;
}

/// Where `0 <= index < extent`, for an index that moves with `loop` alone.
std::optional<LoopClip> clip(const ir::Program& program, const IntExpr& index,
                             const IntExpr& extent, const Loop& loop) {
  const std::optional<IntExpr> step = coefficient(index, loop.name);
  if (!step || step->kind != IntExpr::Kind::kConstant || step->value <= 0) return std::nullopt;
  const IntExpr start = ir::substitute(index, {loop.name}, {ir::int_constant(0)});
  const std::string first = c_int(program, start);
  const std::string past = c_int(program, extent - ir::int_constant(1) - start);
  const std::string count = c_int(program, loop.extent);
  LoopClip part;
  part.begin = fmt::format("q_imin({}, q_imax(0, -q_floordiv({}, {})))", count, first, step->value);
  part.end = fmt::format("q_imax(0, q_imin({}, q_floordiv({}, {}) + 1))", count, past, step->value);
  return part;
}

}  // namespace

std::optional<std::map<std::string, LoopClip>> clip_window(const ir::Program& program,
                                                           const Item& item,
                                                           const std::vector<IntExpr>& rows) {
  const Expr& load = item.statement.body;
  if (item.statement.kind != ir::Statement::Kind::kReduce || load.kind != Expr::Kind::kLoad) {
    return std::nullopt;
  }
  if (load.args.empty() || !starts_from(item.statement.monoid, load.args[0])) return std::nullopt;
  const std::vector<IntExpr> shape = program.shape_of(load.name);
  const std::vector<Loop> loops = item.loops();
  std::map<std::string, LoopClip> clips;
  for (size_t d = 0; d < shape.size(); ++d) {
    const Loop* moves = nullptr;
    for (const Loop& loop : loops) {
      if (!ir::uses_axis(load.indices[d], loop.name)) continue;
      if (moves != nullptr || loop.limit || !loop.end.empty()) return std::nullopt;
      moves = &loop;
    }
    if (moves == nullptr && whole_row(load.indices[d], shape[d], rows)) continue;
    if (moves == nullptr || clips.count(moves->name) != 0) return std::nullopt;
    const auto part = clip(program, load.indices[d], shape[d], *moves);
    if (!part) return std::nullopt;
    clips[moves->name] = *part;
  }
  return clips;
}

}  // namespace quern
