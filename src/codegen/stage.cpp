// SPDX-License-Identifier: Apache-2.0
#include "codegen/stage.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/group.h"
#include "codegen/point.h"

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Statement;

bool is_axis(const IntExpr& expr, const std::string& name) {
  return expr.kind == IntExpr::Kind::kAxis && expr.name == name;
}

/// Renames one statement's axes.
Item rename(const ir::Program& program, const Statement& original,
            const std::vector<RowBinding>& rows, const ir::Axis* lane) {
  Item item;
  item.guarding = has_guarding_select(program, original);
  item.statement = original;
  std::vector<std::string> names;
  std::vector<IntExpr> by;
  int next = 0;
  auto loop_of = [&](const ir::Axis& axis) {
    Loop loop{fmt::format("x{}", next++), axis.extent, std::nullopt, "int64_t{0}", ""};
    if (lane != nullptr && axis.name == lane->name) item.lane = loop.name;
    return loop;
  };
  for (size_t a = 0; a < original.axes.size(); ++a) {
    const ir::Axis& axis = original.axes[a];
    names.push_back(axis.name);
    if (a < rows.size() && !rows[a].factor) {
      by.push_back(ir::int_axis(std::to_string(a)));
    } else {
      Loop loop = loop_of(axis);
      IntExpr index = ir::int_axis(loop.name);
      if (a < rows.size()) {
        IntExpr base = ir::int_axis(std::to_string(a)) * *rows[a].factor;
        loop.extent = *rows[a].factor;
        loop.limit = axis.extent - base;
        index = std::move(base) + std::move(index);
      }
      if (static_cast<int>(a) == original.scan_axis)
        item.scan = static_cast<int>(item.space.size());
      by.push_back(std::move(index));
      item.space.push_back(std::move(loop));
    }
    item.store.push_back(by.back());
  }
  for (const ir::Axis& axis : original.reduce_axes) {
    names.push_back(axis.name);
    item.reduce.push_back(loop_of(axis));
    by.push_back(ir::int_axis(item.reduce.back().name));
  }
  item.statement.body = ir::substitute(original.body, names, by);
  return item;
}

/// The number of trailing indices of an access that are exactly the last `count` loops, the first
/// of which may have something added; 0 where the access does not use them, -1 where it uses them
/// in another way.
int suffix_use(const std::vector<IntExpr>& shape, const std::vector<IntExpr>& indices,
               const std::vector<Loop>& loops, size_t first) {
  const size_t count = loops.size() - first;
  auto uses = [&](const IntExpr& index) {
    return std::any_of(loops.begin() + static_cast<std::ptrdiff_t>(first), loops.end(),
                       [&](const Loop& loop) { return ir::uses_axis(index, loop.name); });
  };
  if (std::none_of(indices.begin(), indices.end(), uses)) return 0;
  if (indices.size() < count || shape.size() != indices.size()) return -1;
  const size_t start = indices.size() - count;
  for (size_t d = 0; d < start; ++d) {
    if (uses(indices[d])) return -1;
  }
  const IntExpr& head = indices[start];
  const bool plain = is_axis(head, loops[first].name);
  const bool shifted = head.kind == IntExpr::Kind::kAdd && !uses(head.args[0]) &&
                       is_axis(head.args[1], loops[first].name);
  if (!plain && !shifted) return -1;
  for (size_t d = 1; d < count; ++d) {
    if (!is_axis(indices[start + d], loops[first + d].name)) return -1;
    if (shape[start + d] != loops[first + d].extent || loops[first + d].limit) return -1;
  }
  return static_cast<int>(count);
}

/// Whether all accesses of an expression allow loops `first…` to run as one.
bool flattens(const ir::Program& program, const Expr& expr, const std::vector<Loop>& loops,
              size_t first) {
  if (expr.kind == Expr::Kind::kIndex) {
    for (size_t l = first; l < loops.size(); ++l) {
      if (ir::uses_axis(expr.indices[0], loops[l].name)) return false;
    }
  }
  if (expr.kind == Expr::Kind::kLoad) {
    const int use = suffix_use(program.shape_of(expr.name), expr.indices, loops, first);
    if (use < 0 || (use > 0 && !expr.args.empty())) return false;
  }
  return std::all_of(expr.args.begin(), expr.args.end(),
                     [&](const Expr& arg) { return flattens(program, arg, loops, first); });
}

std::vector<IntExpr> flat_indices(const std::vector<IntExpr>& shape,
                                  const std::vector<IntExpr>& indices,
                                  const std::vector<Loop>& loops, size_t first) {
  if (suffix_use(shape, indices, loops, first) <= 0) return indices;
  const size_t count = loops.size() - first;
  const size_t start = indices.size() - count;
  std::vector<IntExpr> flat(indices.begin(), indices.begin() + static_cast<std::ptrdiff_t>(start));
  IntExpr last = ir::int_axis(loops[first].name);
  if (indices[start].kind == IntExpr::Kind::kAdd) {
    IntExpr base = indices[start].args[0];
    for (size_t d = 1; d < count; ++d) base = std::move(base) * shape[start + d];
    last = std::move(base) + std::move(last);
  }
  flat.push_back(std::move(last));
  return flat;
}

Expr flatten_loads(const ir::Program& program, const Expr& in, const std::vector<Loop>& loops,
                   size_t first) {
  Expr out = in;
  if (out.kind == Expr::Kind::kLoad) {
    out.indices = flat_indices(program.shape_of(out.name), out.indices, loops, first);
  }
  for (Expr& arg : out.args) arg = flatten_loads(program, arg, loops, first);
  return out;
}

/// Joins as many trailing loops of `*loops` as all accesses allow.
void flatten_suffix(const ir::Program& program, Item* item, std::vector<Loop>* loops,
                    bool spatial) {
  for (size_t first = 0; first + 1 < loops->size(); ++first) {
    if (!flattens(program, item->statement.body, *loops, first)) continue;
    const std::vector<IntExpr> shape = program.shape_of(item->statement.name);
    if (spatial && suffix_use(shape, item->store, *loops, first) <= 0) continue;
    item->statement.body = flatten_loads(program, item->statement.body, *loops, first);
    if (spatial) item->store = flat_indices(shape, item->store, *loops, first);
    Loop joined = (*loops)[first];
    bool has_lane = joined.name == item->lane;
    for (size_t l = first + 1; l < loops->size(); ++l) {
      joined.extent = std::move(joined.extent) * (*loops)[l].extent;
      if (joined.limit) joined.limit = std::move(*joined.limit) * (*loops)[l].extent;
      has_lane = has_lane || (*loops)[l].name == item->lane;
    }
    if (has_lane) item->lane = joined.name;
    loops->resize(first);
    loops->push_back(std::move(joined));
    return;
  }
}

/// Gives loops consecutive names again, so that equal nests compare equal.
void renumber(Item* item) {
  std::vector<std::string> names;
  std::vector<IntExpr> by;
  int next = 0;
  std::string lane;
  auto renamed = [&](Loop* loop) {
    const std::string name = fmt::format("x{}", next++);
    names.push_back(loop->name);
    by.push_back(ir::int_axis(name));
    if (loop->name == item->lane) lane = name;
    loop->name = name;
  };
  for (Loop& loop : item->space) renamed(&loop);
  for (Loop& loop : item->reduce) renamed(&loop);
  item->lane = lane;
  item->statement.body = ir::substitute(item->statement.body, names, by);
  for (IntExpr& index : item->store) index = ir::substitute(index, names, by);
}

bool is_reduction(const Item& item) { return item.statement.kind == Statement::Kind::kReduce; }

/// Whether a load names exactly the element that `made` stores at the current point.
bool at_same_point(const Item& made, const Expr& load) {
  return load.args.empty() && load.indices == made.store;
}

/// Whether `item` may run at the points of `stage`, given what it reads of it.
bool reads_pointwise(const std::vector<Item>& items, const Stage& stage, const Item& item,
                     bool as_tail) {
  for (const Expr* load : ir::loads_of(item.statement.body)) {
    for (int member : stage.members) {
      const Item& made = items[static_cast<size_t>(member)];
      if (made.statement.name != load->name) continue;
      if (is_reduction(made) != as_tail || !at_same_point(made, *load)) return false;
      if (item.guarding) return false;
    }
    for (int tail : stage.tails) {
      const Item& made = items[static_cast<size_t>(tail)];
      if (made.statement.name != load->name) continue;
      if (!as_tail || !at_same_point(made, *load) || item.guarding) return false;
    }
  }
  return true;
}

bool joins_as_member(const std::vector<Item>& items, const Stage& stage, const Item& item) {
  if (item.scan >= 0 || item.loops().empty() || !stage.tails.empty()) return false;
  for (int member : stage.members) {
    if (items[static_cast<size_t>(member)].scan >= 0) return false;
  }
  std::vector<Loop> all = stage.space;
  all.insert(all.end(), stage.reduce.begin(), stage.reduce.end());
  if (item.loops() != all || item.lane != stage.lane) return false;
  const bool maps_only = std::none_of(stage.members.begin(), stage.members.end(), [&](int member) {
    return is_reduction(items[static_cast<size_t>(member)]);
  });
  if (is_reduction(item)) {
    if (!maps_only && item.space != stage.space) return false;
    if (maps_only && item.lane_is_spatial()) return false;
  }
  return reads_pointwise(items, stage, item, false);
}

bool joins_as_tail(const std::vector<Item>& items, const Stage& stage, const Item& item) {
  if (item.statement.kind != Statement::Kind::kMap || item.space != stage.space) return false;
  if (stage.reduce.empty() || item.space.empty()) return false;
  const bool reduces = std::any_of(stage.members.begin(), stage.members.end(), [&](int member) {
    return is_reduction(items[static_cast<size_t>(member)]);
  });
  return reduces && (!stage.lane_is_spatial || item.lane == stage.lane) &&
         reads_pointwise(items, stage, item, true);
}

Stage stage_of(const Item& item, int index) {
  Stage stage;
  stage.lane = item.lane;
  stage.members = {index};
  if (is_reduction(item) || item.scan >= 0) {
    stage.space = item.space;
    stage.reduce = item.reduce;
    stage.lane_is_spatial = item.lane_is_spatial();
  } else {
    stage.reduce = item.space;  // a map: every loop is an inner loop, nothing is carried
  }
  return stage;
}

}  // namespace

bool Item::lane_is_spatial() const {
  return std::any_of(space.begin(), space.end(),
                     [&](const Loop& loop) { return loop.name == lane; });
}

std::vector<Loop> Item::loops() const {
  std::vector<Loop> all = space;
  all.insert(all.end(), reduce.begin(), reduce.end());
  return all;
}

std::vector<Item> make_items(const ir::Program& program, const std::vector<Statement>& statements,
                             const RowPlan& plan, const std::vector<const ir::Axis*>& lanes,
                             bool flatten) {
  std::vector<Item> items;
  for (size_t s = 0; s < statements.size(); ++s) {
    Item item = rename(program, statements[s], plan.bindings[s], lanes[s]);
    if (flatten && item.scan < 0) {
      flatten_suffix(program, &item, &item.space, true);
      const bool arg = statements[s].monoid == ir::Monoid::kArgMax ||
                       statements[s].monoid == ir::Monoid::kArgMin;
      if (!arg) flatten_suffix(program, &item, &item.reduce, false);
    }
    if (item.lane.empty() && !item.loops().empty()) item.lane = item.loops().back().name;
    renumber(&item);
    items.push_back(std::move(item));
  }
  return items;
}

std::vector<Stage> make_stages(const std::vector<Item>& items) {
  std::vector<Stage> stages;
  for (size_t i = 0; i < items.size(); ++i) {
    const Item& item = items[i];
    if (!stages.empty() && joins_as_member(items, stages.back(), item)) {
      Stage& stage = stages.back();
      stage.members.push_back(static_cast<int>(i));
      if (is_reduction(item)) {
        stage.space = item.space;
        stage.reduce = item.reduce;
      }
    } else if (!stages.empty() && joins_as_tail(items, stages.back(), item)) {
      stages.back().tails.push_back(static_cast<int>(i));
    } else {
      stages.push_back(stage_of(item, static_cast<int>(i)));
    }
  }
  return stages;
}

}  // namespace quern
