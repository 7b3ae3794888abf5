// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_row.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "codegen/device_stage.h"
#include "codegen/group.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::IntExpr;
using ir::Program;
using ir::Statement;

constexpr int64_t kKeptRegisters = 96;  ///< of a thread, in all arrays

bool is_map(const Statement& statement) { return statement.kind == Statement::Kind::kMap; }

int forced_axis(const Group& group, const Statement& statement) {
  return static_cast<int>(group.param("axis." + statement.name, -1));
}

/// As many shared leading axes as the statements allow.
RowPlan deepest_rows(const std::vector<Statement>& statements) {
  size_t rows = 64;
  for (const Statement& statement : statements) rows = std::min(rows, statement.axes.size());
  for (; rows > 0; --rows) {
    if (auto plan = share_rows(statements, static_cast<int>(rows))) return *plan;
  }
  RowPlan flat;
  flat.bindings.resize(statements.size());
  return flat;
}

/// Prints one kernel of a group.
class RowKernel {
 public:
  RowKernel(const Program& program, const Group& group, const ir::Sizes& sizes,
            std::vector<Statement> statements, std::vector<std::string> writes)
      : program_(program),
        group_(group),
        sizes_(sizes),
        statements_(std::move(statements)),
        writes_(std::move(writes)) {}

  /// Results of `parts` blocks for each row go to `tensor` [rows, parts].
  void in_parts(int64_t parts, std::string tensor) {
    parts_ = parts;
    partial_ = std::move(tensor);
  }

  Result<DeviceKernel> make(const std::string& name) {
    QUERN_TRY(set_style());
    plan();
    QUERN_TRY(set_keep());
    DeviceKernel kernel;
    kernel.name = name;
    kernel.threads = style_.threads;
    kernel.resident = static_cast<int>(group_.param("resident", 0));
    kernel.blocks = blocks();
    kernel.reads = reads();
    const std::set<std::string> memory = in_memory();
    for (const Statement& statement : statements_) {
      if (stored(statement.name) || memory.contains(statement.name)) {
        kernel.writes.push_back(statement.name);
      }
    }
    if (parts_ > 0) kernel.writes = {partial_};
    print(memory);
    kernel.body = out_.text();
    return kernel;
  }

  /// Intermediates of the group alone that take memory all the same.
  std::set<std::string> in_memory() const {
    DeviceStyle plain = style_;
    plain.keep = 0;
    std::set<std::string> names = DeviceStages::in_memory(items_, stages_, style_);
    // The path without registers stores them.
    if (!conditions(style_).empty()) names.merge(DeviceStages::in_memory(items_, stages_, plain));
    return names;
  }

 private:
  bool stored(const std::string& name) const {
    return std::find(writes_.begin(), writes_.end(), name) != writes_.end();
  }

  std::vector<std::string> reads() const {
    std::vector<std::string> names;
    for (const Statement& statement : statements_) {
      for (const std::string& name : ir::tensors_of(statement.body)) {
        const bool own = std::any_of(statements_.begin(), statements_.end(),
                                     [&](const Statement& made) { return made.name == name; });
        if (!own && std::find(names.begin(), names.end(), name) == names.end()) {
          names.push_back(name);
        }
      }
    }
    return names;
  }

  Result<void> set_style() {
    style_.threads = static_cast<int>(group_.param("threads", 256));
    style_.width = static_cast<int>(group_.param("row_threads", 0));
    style_.vector = group_.param("width", 1) >= 4 ? 4 : 1;
    style_.coarsen = static_cast<int>(std::clamp<int64_t>(group_.param("coarsen", 1), 1, 16));
    style_.unroll = static_cast<int>(std::clamp<int64_t>(group_.param("unroll", 1), 1, 16));
    style_.slices = static_cast<int>(group_.param("slices", 1));
    style_.online = group_.param("online", 0) != 0;
    if (!std::has_single_bit(static_cast<unsigned>(style_.threads)) || style_.threads > 1024) {
      return misfit(fmt::format("{} threads a block", style_.threads), "a power of two up to 1024");
    }
    if (style_.width > style_.threads) style_.threads = style_.width;
    if (!std::has_single_bit(static_cast<unsigned>(style_.slices)) ||
        style_.slices > style_.threads) {
      return misfit(fmt::format("{} threads that share a result", style_.slices),
                    fmt::format("a power of two up to {}", style_.threads));
    }
    if (style_.width > 0 && !std::has_single_bit(static_cast<unsigned>(style_.width))) {
      return misfit(fmt::format("{} threads a row", style_.width), "a power of two");
    }
    for (const Statement& statement : statements_) {
      if (group_.param("nt." + statement.name, 0) != 0) style_.streamed.insert(statement.name);
    }
    return {};
  }

  void make_row_plan() {
    std::vector<int> positions;
    std::vector<const ir::Axis*> lanes;
    for (const Statement& statement : statements_) {
      positions.push_back(vector_position(statement, forced_axis(group_, statement)));
      lanes.push_back(vector_axis(statement, forced_axis(group_, statement)));
    }
    items_ = make_items(program_, statements_, rows_, lanes, true);
    stages_ = make_stages(items_);
  }

  bool grid_wide() const {
    if (stages_.size() != 1) return false;
    const Stage& stage = stages_[0];
    const Item& first = items_[static_cast<size_t>(stage.members[0])];
    const bool reduces = std::any_of(stage.members.begin(), stage.members.end(), [&](int index) {
      return items_[static_cast<size_t>(index)].statement.kind == Statement::Kind::kReduce;
    });
    if (first.scan >= 0) return stage.space.size() > 1;
    return !reduces || !stage.space.empty();
  }

  /// Only reductions of the whole grid are shared by threads that lie apart.
  void settle_slices() {
    const bool scan = items_[static_cast<size_t>(stages_[0].members[0])].scan >= 0;
    if (scan || stages_[0].reduce.empty() || stages_[0].space.empty()) style_.slices = 1;
    // A thread walks whole lines, one after the other.
    if (scan) style_.vector = 1;
  }

  /// Rows and stages: the grid as one row where that is one stage, else rows in common.
  void plan() {
    if (parts_ > 0) {
      rows_ = deepest_rows(statements_);
      return make_row_plan();
    }
    if (style_.width == 0) {
      rows_ = RowPlan();
      rows_.bindings.resize(statements_.size());
      make_row_plan();
      if (grid_wide()) return settle_slices();
      style_.width = 1;
      rows_ = deepest_rows(statements_);
      if (rows_.rows == 0) style_.width = style_.threads;  // one row: a block is all there is
      return make_row_plan();
    }
    std::vector<int> positions;
    for (const Statement& statement : statements_) {
      positions.push_back(vector_position(statement, forced_axis(group_, statement)));
    }
    rows_ = most_rows(statements_, positions);
    make_row_plan();
  }

  Result<void> set_keep() {
    if (group_.param("keep", 0) == 0 || style_.width == 0 || parts_ > 0) return {};
    int64_t most = 0;
    for (const Stage& stage : stages_) {
      int64_t total = 1;
      for (const std::vector<Loop>* loops : {&stage.space, &stage.reduce}) {
        for (const Loop& loop : *loops) total *= row_extent(loop);
      }
      most = std::max(most, total);
    }
    const int64_t step = int64_t{style_.width} * style_.vector;
    const int64_t vectors = (most + step - 1) / step;
    if (vectors * style_.vector > kKeptRegisters) {
      return misfit(fmt::format("a row of {} elements does not fit the registers of {} threads",
                                most, style_.width),
                    "share the row among more threads, or do not keep it");
    }
    style_.keep = static_cast<int>(vectors);
    return {};
  }

  /// The extent of a loop at the tuned sizes, as in row 0.
  int64_t row_extent(const Loop& loop) const {
    if (!ir::axes_of(loop.extent).empty()) return 1;
    return ir::evaluate(loop.extent, sizes_);
  }

  std::vector<ir::Axis> row_axes() const {
    if (rows_.rows == 0) return {};
    const Statement& model = statements_[static_cast<size_t>(rows_.reference)];
    return {model.axes.begin(), model.axes.begin() + rows_.rows};
  }

  /// Points of the one stage of a grid-wide kernel.
  IntExpr points() const {
    const Stage& stage = stages_[0];
    const Item& first = items_[static_cast<size_t>(stage.members[0])];
    IntExpr total = ir::int_constant(1);
    for (size_t l = 0; l < stage.space.size(); ++l) {
      if (first.scan == static_cast<int>(l)) continue;
      total = std::move(total) * without_lets(program_, stage.space[l].extent);
    }
    if (!stage.space.empty()) return total;
    for (const Loop& loop : stage.reduce) {
      total = std::move(total) * without_lets(program_, loop.extent);
    }
    return total;
  }

  IntExpr blocks() const {
    if (style_.width == 0) {
      const int64_t each = int64_t{style_.columns()} * style_.vector * style_.coarsen;
      return ceil_div(points(), ir::int_constant(each));
    }
    IntExpr rows = element_product(program_, row_axes());
    if (parts_ > 0) return std::move(rows) * ir::int_constant(parts_);
    return ceil_div(std::move(rows), ir::int_constant(style_.threads / style_.width));
  }

  std::vector<std::string> conditions(const DeviceStyle& style) const {
    if (style.vector == 1 && style.keep == 0) return {};
    std::set<std::string> stores = DeviceStages::in_memory(items_, stages_, style);
    stores.insert(writes_.begin(), writes_.end());
    return DeviceStages::conditions(program_, items_, stages_, style, stores);
  }

  void print(const std::set<std::string>& memory) {
    if (DeviceStages::combines(items_, stages_, style_)) {
      out_.add(fmt::format("Q_SHARED long q_shared[{}];", style_.threads));
    }
    print_place();
    const std::vector<std::string> needed = conditions(style_);
    if (needed.empty()) return print_stages(style_, memory);
    out_.add(fmt::format("if ({}) {{", fmt::join(needed, " && ")));
    std::set<std::string> fast = DeviceStages::in_memory(items_, stages_, style_);
    print_stages(style_, fast);
    out_.add("} else {");
    DeviceStyle plain = style_;
    plain.coarsen = style_.width == 0 ? style_.coarsen * style_.vector : 1;
    plain.vector = 1;
    plain.keep = 0;
    print_stages(plain, memory);
    out_.add("}");
  }

  /// Which row this thread works on.
  void print_place() {
    const DeviceText text(program_);
    if (style_.width == 0) {
      out_.add("const q_int q_lane = (q_int)(q_block() * q_threads() + q_thread()); (void)q_lane;");
      out_.add("const bool q_alive = true; (void)q_alive;");
      return;
    }
    std::vector<std::string> names;
    std::vector<IntExpr> extents;
    for (const ir::Axis& axis : row_axes()) {
      names.push_back(axis_id(std::to_string(names.size())));
      extents.push_back(axis.extent);
    }
    out_.add(fmt::format("const int q_lane = q_thread() % {}; (void)q_lane;", style_.width));
    if (parts_ > 0) {
      out_.add(fmt::format("const q_int q_row = (q_int)(q_block() / {});", parts_));
      out_.add("const bool q_alive = true; (void)q_alive;");
    } else if (style_.width == style_.threads) {
      out_.add("const q_int q_row = (q_int)q_block();");
      out_.add("const bool q_alive = true; (void)q_alive;");
    } else {
      const std::string rows = text.index(element_product(program_, row_axes()));
      // Threads past the last row repeat it and store nothing: barriers need them.
      out_.add(fmt::format("const q_int q_own = (q_int)(q_block() * {} + q_thread() / {});",
                           style_.threads / style_.width, style_.width));
      out_.add(fmt::format("const bool q_alive = q_own < {}; (void)q_alive;", rows));
      out_.add(fmt::format("const q_int q_row = q_alive ? q_own : {} - 1;", rows));
    }
    out_.add("(void)q_row;");
    out_.add_lines(decode_position(text, "q_row", names, extents));
    for (const std::string& name : names) out_.add(fmt::format("(void){};", name));
    if (parts_ > 0) print_part();
  }

  /// The share of the terms that this block takes.
  void print_part() {
    const DeviceText text(program_);
    std::string total = "1";
    for (const Loop& loop : stages_[0].reduce) total += " * " + text.index(loop.extent);
    out_.add(fmt::format("const q_int q_terms = {};", total));
    out_.add(fmt::format("const q_int q_share = (q_terms + {0} - 1) / {0} * {1};",
                         parts_ * style_.vector, style_.vector));
    out_.add(fmt::format("const q_int q_first = (q_int)(q_block() % {}) * q_share;", parts_));
    out_.add("const q_int q_last = q_imin(q_terms, q_first + q_share);");
    style_.first = "q_first";
    style_.last = "q_last";
  }

  void print_stages(const DeviceStyle& style, const std::set<std::string>& memory) {
    std::set<std::string> stores = memory;
    if (parts_ == 0) stores.insert(writes_.begin(), writes_.end());
    DeviceStages(program_, items_, stages_, style, stores, &out_).print();
    if (parts_ > 0) {
      out_.add(fmt::format("if (q_lane == 0) {}[q_block()] = q_x_{};", tensor_id(partial_),
                           statements_[0].name));
    }
  }

  const Program& program_;
  const Group& group_;
  const ir::Sizes& sizes_;
  std::vector<Statement> statements_;
  std::vector<std::string> writes_;
  RowPlan rows_;
  std::vector<Item> items_;
  std::vector<Stage> stages_;
  DeviceStyle style_;
  int64_t parts_ = 0;
  std::string partial_;
  Lines out_;
};

std::string kernel_name(const std::vector<Statement>& statements, int number) {
  return fmt::format("g{}_{}", number, statements.back().name);
}

/// A reduction by several blocks a row, then the combination of their results.
Result<void> emit_in_parts(const Program& program, const Group& group, int number,
                           const ir::Sizes& sizes, const std::vector<Statement>& statements,
                           const std::vector<std::string>& writes, DeviceProgram* made) {
  const int64_t parts = std::clamp<int64_t>(group.param("parts", 0), 2, 4096);
  const Statement& original = statements[0];
  const PartialResults partial = in_parts(program, statements, parts, PartOrder::kInnermost);
  Group first = group;
  first.params["row_threads"] = group.param("row_threads", group.param("threads", 256));
  first.params["threads"] = first.params["row_threads"];
  RowKernel reduce(program, first, sizes, {original}, {});
  reduce.in_parts(parts, partial.tensor.name);
  QUERN_ASSIGN(DeviceKernel kernel, reduce.make(kernel_name(statements, number) + "_parts"));
  made->kernels.push_back(std::move(kernel));
  return emit_combination(partial, {{"threads", 128}, {"row_threads", parts >= 32 ? 32 : 1}},
                          number, sizes, writes, made);
}

}  // namespace

Result<void> emit_device_rows(const Program& program, const Group& group, int number,
                              const ir::Sizes& sizes, DeviceProgram* made) {
  const std::vector<Statement> statements = inline_group(program, group);
  const std::vector<std::string> writes = group_writes(program, group);
  const bool parts = group.param("rfactor", 0) != 0 && !is_map(statements[0]);
  if (parts) return emit_in_parts(program, group, number, sizes, statements, writes, made);
  RowKernel printer(program, group, sizes, statements, writes);
  QUERN_ASSIGN(DeviceKernel kernel, printer.make(kernel_name(statements, number)));
  for (const std::string& name : kernel.writes) {
    const bool own = std::find(writes.begin(), writes.end(), name) == writes.end();
    if (own) made->scratch.push_back(scratch_of(program, *program.find_statement(name)));
  }
  made->kernels.push_back(std::move(kernel));
  return {};
}

PartialResults in_parts(const Program& program, const std::vector<Statement>& statements,
                        int64_t parts, PartOrder order) {
  PartialResults made{program, statements[0], statements};
  const ir::Axis axis{kPartAxis, ir::int_constant(parts)};
  std::vector<IntExpr> indices;
  for (const ir::Axis& own : statements[0].axes) indices.push_back(ir::int_axis(own.name));
  made.tensor.name += "_parts";
  made.tensor.is_output = false;
  made.tensor.kind = Statement::Kind::kMap;
  std::vector<ir::Axis>& axes = made.tensor.axes;
  const bool outermost = order == PartOrder::kOutermost;
  axes.insert(outermost ? axes.begin() : axes.end(), axis);
  indices.insert(outermost ? indices.begin() : indices.end(), ir::int_axis(kPartAxis));
  made.program.statements.push_back(made.tensor);
  made.combine[0].reduce_axes = {axis};
  made.combine[0].body = ir::load(made.tensor.name, std::move(indices));
  return made;
}

Result<void> emit_combination(const PartialResults& partial,
                              const std::map<std::string, int64_t>& params, int number,
                              const ir::Sizes& sizes, const std::vector<std::string>& writes,
                              DeviceProgram* made) {
  made->scratch.push_back(scratch_of(partial.program, partial.tensor));
  Group group;
  group.params = params;
  QUERN_ASSIGN(DeviceKernel kernel,
               RowKernel(partial.program, group, sizes, partial.combine, writes)
                   .make(kernel_name(partial.combine, number)));
  made->kernels.push_back(std::move(kernel));
  return {};
}

}  // namespace quern
