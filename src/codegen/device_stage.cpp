// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_stage.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/group.h"

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Statement;

bool is_reduction(const Item& item) { return item.statement.kind == Statement::Kind::kReduce; }

bool is_row_scalar(const Item& item) {
  return item.space.empty() && (item.reduce.empty() || is_reduction(item));
}

std::vector<Loop> loops_of(const Stage& stage) {
  std::vector<Loop> all = stage.space;
  all.insert(all.end(), stage.reduce.begin(), stage.reduce.end());
  return all;
}

bool reduces(const std::vector<Item>& items, const Stage& stage) {
  return std::any_of(stage.members.begin(), stage.members.end(),
                     [&](int member) { return is_reduction(items[static_cast<size_t>(member)]); });
}

bool scans(const std::vector<Item>& items, const Stage& stage) {
  return items[static_cast<size_t>(stage.members[0])].scan >= 0;
}

/// Reductions to one value a row: every thread of the row takes some of the terms.
bool whole_row(const std::vector<Item>& items, const Stage& stage) {
  return reduces(items, stage) && stage.space.empty();
}

bool block_scan(const std::vector<Item>& items, const Stage& stage, const DeviceStyle& style) {
  return scans(items, stage) && stage.space.size() == 1 && style.width > 1;
}

/// Whether the access at `indices` walks along `loop` element by element, from a place that is
/// aligned whenever rows of the tensor are.
bool unit_access(const ir::Program& program, const std::string& tensor,
                 const std::vector<IntExpr>& indices, const std::string& loop) {
  if (indices.empty() || program.type_of(tensor) != DType::kF32) return false;
  for (size_t d = 0; d + 1 < indices.size(); ++d) {
    if (ir::uses_axis(indices[d], loop)) return false;
  }
  const IntExpr& last = indices.back();
  const IntExpr axis = ir::int_axis(loop);
  if (last == axis) return true;
  const bool joined = indices.size() < program.shape_of(tensor).size();
  return joined && last.kind == IntExpr::Kind::kAdd && last.args[1] == axis &&
         !ir::uses_axis(last.args[0], loop);
}

bool vector_load(const ir::Program& program, const Item& item, const Expr& load,
                 const std::vector<Loop>& loops) {
  return !item.guarding && load.args.empty() && !loops.empty() &&
         unit_access(program, load.name, load.indices, loops.back().name);
}

/// Whether `made` is the value that a load of a later stage names, at the same thread's point.
bool held_by_thread(const Item& made, const std::vector<Loop>& made_loops, const Expr& load,
                    const std::vector<Loop>& loops) {
  return load.args.empty() && made.scan < 0 && made_loops == loops && load.indices == made.store;
}

std::string loops_text(const std::vector<Loop>& loops) {
  std::string text;
  for (const Loop& loop : loops) text += ir::print(loop.extent) + ";";
  return text;
}

/// Loads of one expression that no `else` or `select` may keep from happening.
std::vector<const Expr*> loads_in(const Item& item) { return ir::loads_of(item.statement.body); }

}  // namespace

std::vector<Loop> point_loops(const std::vector<Item>& items, const Stage& stage) {
  return reduces(items, stage) && !stage.space.empty() ? stage.space : loops_of(stage);
}

IntExpr extent_of(const Loop& loop) {
  return loop.limit ? ir::int_binary(IntExpr::Kind::kMin, loop.extent, *loop.limit) : loop.extent;
}

DeviceStages::DeviceStages(const ir::Program& program, const std::vector<Item>& items,
                           const std::vector<Stage>& stages, DeviceStyle style,
                           std::set<std::string> stored, Lines* out)
    : program_(program),
      items_(items),
      stages_(stages),
      style_(std::move(style)),
      stored_(std::move(stored)),
      out_(out) {}

std::string DeviceStages::key(const std::vector<Loop>& loops, const Expr& load) {
  return loops_text(loops) + ir::print(load);
}

std::set<std::string> DeviceStages::in_memory(const std::vector<Item>& items,
                                              const std::vector<Stage>& stages,
                                              const DeviceStyle& style) {
  std::set<std::string> names;
  for (size_t s = 0; s < stages.size(); ++s) {
    std::vector<int> made = stages[s].members;
    made.insert(made.end(), stages[s].tails.begin(), stages[s].tails.end());
    for (int index : made) {
      const Item& item = items[static_cast<size_t>(index)];
      if (is_row_scalar(item)) continue;
      for (size_t later = s + 1; later < stages.size(); ++later) {
        std::vector<int> readers = stages[later].members;
        readers.insert(readers.end(), stages[later].tails.begin(), stages[later].tails.end());
        for (int reader : readers) {
          for (const Expr* load : loads_in(items[static_cast<size_t>(reader)])) {
            if (load->name != item.statement.name) continue;
            const bool held = style.keep > 0 && !scans(items, stages[later]) &&
                              held_by_thread(item, point_loops(items, stages[s]), *load,
                                             point_loops(items, stages[later]));
            if (!held) names.insert(load->name);
          }
        }
      }
    }
  }
  return names;
}

bool DeviceStages::combines(const std::vector<Item>& items, const std::vector<Stage>& stages,
                            const DeviceStyle& style) {
  return std::any_of(stages.begin(), stages.end(), [&](const Stage& stage) {
    if (style.width == 0) return style.slices > 1 && reduces(items, stage);
    return style.width > 1 && (whole_row(items, stage) || block_scan(items, stage, style));
  });
}

std::vector<std::string> DeviceStages::conditions(const ir::Program& program,
                                                  const std::vector<Item>& items,
                                                  const std::vector<Stage>& stages,
                                                  const DeviceStyle& style,
                                                  const std::set<std::string>& stored) {
  std::vector<std::string> found;
  auto need = [&](std::string text) {
    if (std::find(found.begin(), found.end(), text) == found.end()) {
      found.push_back(std::move(text));
    }
  };
  const DeviceText text(program);
  auto need_aligned = [&](const std::string& tensor) {
    const bool own = std::any_of(items.begin(), items.end(),
                                 [&](const Item& item) { return item.statement.name == tensor; });
    if (own && !stored.contains(tensor)) return;
    // Buffers begin at multiples of 16 bytes (docs/plan_format.md); their rows need not.
    need(fmt::format("{} % {} == 0", text.index(program.shape_of(tensor).back()), style.vector));
  };
  for (const Stage& stage : stages) {
    const std::vector<Loop> loops = point_loops(items, stage);
    if (loops.empty() || (scans(items, stage) && !block_scan(items, stage, style))) continue;
    if (style.vector > 1) {
      need(fmt::format("{} % {} == 0", text.index(loops.back().extent), style.vector));
      std::vector<int> all = stage.members;
      all.insert(all.end(), stage.tails.begin(), stage.tails.end());
      for (int index : all) {
        const Item& item = items[static_cast<size_t>(index)];
        for (const Expr* load : loads_in(item)) {
          if (vector_load(program, item, *load, loops)) need_aligned(load->name);
        }
        if (unit_access(program, item.statement.name, item.store, loops.back().name)) {
          need_aligned(item.statement.name);
        }
      }
    }
    if (style.keep > 0 && !scans(items, stage)) {
      std::string total = "1";
      for (const Loop& loop : loops) total += " * " + text.index(loop.extent);
      need(fmt::format("{} <= {}", total, style.keep * style.width * style.vector));
    }
  }
  return found;
}

void DeviceStages::reserve(const std::string& key) {
  if (kept_.contains(key)) return;
  const std::string array = fmt::format("q_r{}", arrays_++);
  out_->add(fmt::format("float {}[{}][{}];", array, style_.keep, style_.vector));
  kept_[key] = array;
}

/// Registers for what several passes over a row read at the same thread's points.
void DeviceStages::reserve_kept() {
  std::map<std::string, int> passes;
  std::map<std::string, std::pair<const Item*, std::vector<Loop>>> made;
  for (const Stage& stage : stages_) {
    if (scans(items_, stage)) continue;
    const std::vector<Loop> loops = point_loops(items_, stage);
    if (loops.empty()) continue;
    std::set<std::string> here;
    for (int index : stage.members) {
      for (const Expr* load : loads_in(item(index))) {
        const std::string id = key(loops, *load);
        auto maker = made.find(load->name);
        if (maker != made.end()) {
          if (held_by_thread(*maker->second.first, maker->second.second, *load, loops)) reserve(id);
        } else if (vector_load(program_, item(index), *load, loops) && here.insert(id).second &&
                   ++passes[id] == 2) {
          reserve(id);
          pending_.insert(id);
        }
      }
    }
    for (int index : stage.members) {
      if (!is_reduction(item(index)) && item(index).statement.type == DType::kF32) {
        made[item(index).statement.name] = {&item(index), loops};
      }
    }
    for (int index : stage.tails) made[item(index).statement.name] = {&item(index), loops};
  }
}

void DeviceStages::print() {
  if (style_.keep > 0) reserve_kept();
  for (size_t s = 0; s < stages_.size(); ++s) {
    const Stage& stage = stages_[s];
    here_.clear();
    if (online_pair(s)) {
      print_online(item(stage.members[0]), item(stages_[s + 1].members[0]), stage);
      ++s;
      continue;
    }
    print_stage(stage);
    bool read_again = false;
    for (size_t later = s + 1; later < stages_.size(); ++later) {
      for (int index : stages_[later].members) {
        for (const Expr* load : loads_in(item(index))) {
          for (int made : stage.members) read_again |= item(made).statement.name == load->name;
          for (int made : stage.tails) read_again |= item(made).statement.name == load->name;
        }
      }
    }
    const bool scalar = is_row_scalar(item(stage.members[0]));
    if (read_again && !scalar && style_.width > 1) out_->add("q_barrier();");
  }
}

void DeviceStages::print_stage(const Stage& stage) {
  const Item& first = item(stage.members[0]);
  if (first.loops().empty()) {
    for (int member : stage.members) print_row_scalar(item(member));
  } else if (block_scan(items_, stage, style_)) {
    print_block_scan(stage);
  } else if (scans(items_, stage)) {
    print_line_scan(stage);
  } else if (whole_row(items_, stage)) {
    print_reduction(stage);
  } else {
    print_points(stage);
  }
}

DeviceText DeviceStages::text_for(const Item& item, const std::vector<Loop>& loops,
                                  const std::vector<Access>& loaded) const {
  const bool wide = computed_wide(program_, item.statement);
  return DeviceText(program_, wide, [=, this](const Expr& load) -> std::optional<std::string> {
    const std::string scalar = wide ? "double" : "float";
    if (scalars_.contains(load.name) || (here_.contains(load.name) && load.args.empty())) {
      const bool same = dtype_c_name(program_.type_of(load.name)) == scalar;
      return same ? "q_x_" + load.name : fmt::format("({})q_x_{}", scalar, load.name);
    }
    for (const Access& access : loaded) {
      if (*access.load == load) {
        return wide ? fmt::format("(double){}[q_v]", access.array) : access.array + "[q_v]";
      }
    }
    auto kept = kept_.find(key(loops, load));
    if (kept == kept_.end()) return std::nullopt;
    return fmt::format("{}{}[q_k][q_v]", wide ? "(double)" : "", kept->second);
  });
}

void DeviceStages::print_row_scalar(const Item& item) {
  const DeviceText text = text_for(item, {}, {});
  const std::string type(dtype_c_name(item.statement.type));
  out_->add(fmt::format("const {} q_x_{} = ({})({});", type, item.statement.name, type,
                        text.value(item.statement.body)));
  scalars_.insert(item.statement.name);
  if (!stored_.contains(item.statement.name)) return;
  out_->add("if (q_alive && q_lane == 0) {");
  store(item, "q_x_" + item.statement.name);
  out_->add("}");
}

void DeviceStages::close(int count) {
  for (int i = 0; i < count; ++i) out_->add("}");
}

void DeviceStages::declare_axes(const std::vector<Loop>& loops) {
  const DeviceText text(program_);
  std::string rest = "q_p";
  for (size_t l = loops.size(); l-- > 0;) {
    const std::string name = l + 1 == loops.size() ? axis_id(kBaseAxis) : axis_id(loops[l].name);
    if (l == 0) {
      out_->add(fmt::format("const q_int {} = {};", name, rest));
    } else {
      const std::string extent = text.index(extent_of(loops[l]));
      out_->add(fmt::format("const q_int {} = {} % {};", name, rest, extent));
      rest = fmt::format("({} / {})", rest, extent);
    }
  }
}

int DeviceStages::open_points(const std::vector<Loop>& loops) {
  const DeviceText text(program_);
  std::string total = "1";
  for (const Loop& loop : loops) total += " * " + text.index(extent_of(loop));
  if (style_.width == 0) {
    out_->add("#pragma unroll");
    out_->add(fmt::format("for (int q_u = 0; q_u < {}; ++q_u) {{", style_.coarsen));
    if (style_.slices > 1) {
      // Threads past the end repeat the first point and store nothing: barriers need them.
      out_->add(fmt::format(
          "const q_int q_place = (q_int)((q_block() * {} + q_u) * {} + q_thread() % {}) * {};",
          style_.coarsen, style_.columns(), style_.columns(), style_.vector));
      out_->add(fmt::format("const q_int q_p = q_place < {} ? q_place : 0;", total));
      out_->add(fmt::format("const bool q_owner = q_place < {} && q_thread() < {};", total,
                            style_.columns()));
      out_->add("{");
      declare_axes(loops);
      return 2;
    }
    out_->add(
        fmt::format("const q_int q_p = (q_int)((q_block() * {} + q_u) * {} + q_thread()) * {};",
                    style_.coarsen, style_.threads, style_.vector));
    out_->add(fmt::format("if (q_p < {}) {{", total));
    declare_axes(loops);
    return 2;
  }
  if (style_.keep > 0) {
    out_->add("#pragma unroll");
    out_->add(fmt::format("for (int q_k = 0; q_k < {}; ++q_k) {{", style_.keep));
    out_->add(
        fmt::format("const q_int q_p = (q_k * {} + q_lane) * {};", style_.width, style_.vector));
    out_->add(fmt::format("if (q_p < {}) {{", total));
    declare_axes(loops);
    return 2;
  }
  if (style_.unroll > 1) out_->add(fmt::format("#pragma unroll {}", style_.unroll));
  const std::string begin = style_.first.empty() ? "0" : style_.first;
  out_->add(fmt::format("for (q_int q_p = {} + q_lane * {}; q_p < {}; q_p += {}) {{", begin,
                        style_.vector, style_.last.empty() ? total : style_.last,
                        style_.width * style_.vector));
  declare_axes(loops);
  return 1;
}

void DeviceStages::open_elements() {
  if (style_.vector == 1) {
    out_->add("{");
    out_->add("const int q_v = 0; (void)q_v;");
  } else {
    out_->add("#pragma unroll");
    out_->add(fmt::format("for (int q_v = 0; q_v < {}; ++q_v) {{", style_.vector));
  }
}

std::vector<DeviceStages::Access> DeviceStages::vector_loads(const Stage& stage,
                                                             const std::vector<Loop>& loops,
                                                             const std::vector<int>& members) {
  std::vector<Access> loaded;
  if (loops.empty()) return loaded;
  const DeviceText text(program_);
  const std::string last = loops.back().name;
  for (int index : members) {
    for (const Expr* load : loads_in(item(index))) {
      if (!vector_load(program_, item(index), *load, loops)) continue;
      if (scalars_.contains(load->name) || here_.contains(load->name)) continue;
      const bool own = std::any_of(stage.members.begin(), stage.members.end(), [&](int other) {
        return item(other).statement.name == load->name;
      });
      const bool known = std::any_of(loaded.begin(), loaded.end(),
                                     [&](const Access& access) { return *access.load == *load; });
      if (own || known) continue;
      const std::string id = key(loops, *load);
      const bool kept = kept_.contains(id);
      if (kept ? pending_.erase(id) == 0 : style_.vector == 1) continue;
      std::vector<IntExpr> indices = load->indices;
      for (IntExpr& i : indices) i = ir::substitute(i, {last}, {ir::int_axis(kBaseAxis)});
      const std::string offset = text.offset(load->name, indices);
      std::string array = kept ? kept_.at(id) + "[q_k]" : fmt::format("q_r{}", arrays_++);
      if (!kept) {
        out_->add(fmt::format("float {}[{}];", array, style_.vector));
        loaded.push_back({load, array});
      }
      out_->add(style_.vector == 1
                    ? fmt::format("{}[0] = {}[{}];", array, tensor_id(load->name), offset)
                    : fmt::format("q_load4({}, {} + ({}));", array, tensor_id(load->name), offset));
    }
  }
  return loaded;
}

bool DeviceStages::vector_store(const Item& item, const std::vector<Loop>& loops) const {
  return style_.vector > 1 && stored_.contains(item.statement.name) && !loops.empty() &&
         unit_access(program_, item.statement.name, item.store, loops.back().name);
}

void DeviceStages::store(const Item& item, const std::string& value) {
  const DeviceText text(program_);
  const std::string& name = item.statement.name;
  const std::string at = fmt::format("{}[{}]", tensor_id(name), text.offset(name, item.store));
  if (style_.streamed.contains(name)) {
    out_->add(fmt::format("q_store_stream(&{}, {});", at, value));
  } else {
    out_->add(fmt::format("{} = {};", at, value));
  }
}

/// Names a value of the current point, keeps and stores it as its readers need.
void DeviceStages::print_value(const Stage& stage, const std::vector<Loop>& loops, const Item& item,
                               const std::string& value) {
  const std::string& name = item.statement.name;
  const std::string type(dtype_c_name(item.statement.type));
  out_->add(fmt::format("const {0} q_x_{1} = ({0})({2}); (void)q_x_{1};", type, name, value));
  here_.insert(name);
  auto kept = kept_.find(key(loops, ir::load(name, item.store)));
  if (kept != kept_.end() && !scans(items_, stage)) {
    out_->add(fmt::format("{}[q_k][q_v] = q_x_{};", kept->second, name));
  }
  if (!stored_.contains(name)) return;
  if (vector_store(item, loops)) {
    out_->add(fmt::format("q_s_{}[q_v] = q_x_{};", name, name));
  } else if (style_.width == 0 || style_.width == style_.threads) {
    store(item, "q_x_" + name);
  } else {
    out_->add("if (q_alive) {");
    store(item, "q_x_" + name);
    out_->add("}");
  }
}

void DeviceStages::print_members(const Stage& stage, const std::vector<Loop>& loops,
                                 const std::vector<int>& members, const std::vector<Access>& loaded,
                                 const std::map<int, Reducer>& reducers) {
  for (int index : members) {
    const Item& member = item(index);
    const std::string value = text_for(member, loops, loaded).value(member.statement.body);
    auto reducer = reducers.find(index);
    if (reducer == reducers.end()) {
      print_value(stage, loops, member, value);
      continue;
    }
    const std::string position = member.reduce.empty() ? "0" : axis_id(member.reduce.front().name);
    out_->add_lines(reducer->second.add(value, position));
  }
}

void DeviceStages::store_vectors(const std::vector<int>& members, const std::vector<Loop>& loops) {
  const DeviceText text(program_);
  for (int index : members) {
    const Item& made = item(index);
    if (!vector_store(made, loops)) continue;
    const std::string& name = made.statement.name;
    std::vector<IntExpr> indices = made.store;
    for (IntExpr& i : indices) {
      i = ir::substitute(i, {loops.back().name}, {ir::int_axis(kBaseAxis)});
    }
    const std::string offset = text.offset(name, indices);
    const bool partial = style_.width != 0 && style_.width != style_.threads;
    out_->add(fmt::format("{}{}({} + ({}), q_s_{});", partial ? "if (q_alive) " : "",
                          style_.streamed.contains(name) ? "q_store4_stream" : "q_store4",
                          tensor_id(name), offset, name));
  }
}

}  // namespace quern
