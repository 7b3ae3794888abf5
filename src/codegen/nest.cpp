// SPDX-License-Identifier: Apache-2.0
#include "codegen/nest.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "codegen/group.h"
#include "codegen/row.h"
#include "codegen/window.h"
#include "codegen/window_clip.h"

namespace quern {
namespace {

using ir::IntExpr;
using ir::Program;
using ir::Statement;

constexpr const char* kParts = "0parts";    ///< size: number of parts of an rfactor
constexpr const char* kPartAxis = "0part";  ///< its axis
constexpr int kPageElements = 1024;         ///< of a page of memory

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// One loop structure: a list of statements run row by row.
class NestPrinter {
 public:
  NestPrinter(const Program& program, const Group& group, int number,
              std::vector<Statement> statements, std::vector<std::string> writes, Lines* out)
      : program_(program),
        group_(group),
        number_(number),
        statements_(std::move(statements)),
        writes_(std::move(writes)),
        out_(out) {}

  /// The first reduce loop of the only statement covers a part of its range.
  void in_parts() { in_parts_ = true; }

  /// The first statement is the first half of a split window.
  void in_windows() { in_windows_ = true; }

  void print() {
    plan();
    print_scratch();
    out_->add(fmt::format("const int64_t units = {};", units()));
    print_joints();
    const bool parallel = group_.param("parallel", 0) != 0;
    if (parallel) out_->add("#pragma omp parallel");
    out_->add("{");
    RowPrinter row(program_, items_, style(), stored(), out_);
    const bool ahead = in_windows_ && group_.param("chunk", 0) == 0;
    if (ahead) {
      print_ahead(parallel, &row);
    } else {
      print_share(parallel);
    }
    print_row_axes();
    print_row_buffers();
    for (const std::string& name : joined()) {
      out_->add(fmt::format("float* const {0} = q_row(joint_{1}, whole_{1}, unit);",
                            tensor_id(name), name));
    }
    if (!ahead) print_padding();
    for (size_t s = ahead ? 1 : 0; s < stages_.size(); ++s) {
      row.print(stages_[s]);
      // The pass right after the first one over the row asks for the next row.
      const bool loops = !stages_[s].reduce.empty();
      if (s == 0) row.prefetch_for(&stages_[0]);
      if (s > 0 && loops) row.prefetch_for(nullptr);
    }
    if (ahead && !joined().empty()) out_->add("if (unit + 1 < last) ahead(unit + 1);");
    for (const std::string& name : joined()) {
      out_->add(fmt::format("q_join(joint_{0}, whole_{0}, unit, unit + 1 == last);", name));
    }
    out_->add("}");
    if (!streamed().empty()) out_->add("q_fence();");
    out_->add("}");
  }

 private:
  void plan() {
    std::vector<int> positions;
    std::vector<const ir::Axis*> lanes;
    for (const Statement& statement : statements_) {
      const int forced = static_cast<int>(group_.param("axis." + statement.name, -1));
      positions.push_back(vector_position(statement, forced));
      lanes.push_back(vector_axis(statement, forced));
    }
    rows_ = most_rows(statements_, positions);
    items_ = make_items(program_, statements_, rows_, lanes, group_.param("fuse_loops", 0) != 0);
    stages_ = make_stages(items_);
    cut_blocks();
    if (in_parts_) cut_parts();
    if (in_windows_) cut_padding();
  }

  /// The row of partial window results is made of the points inside the tensor; the loops that
  /// stop there need no further question.
  void cut_padding() {
    std::vector<IntExpr> extents;
    for (int r = 0; r < rows_.rows; ++r) {
      extents.push_back(model().axes[static_cast<size_t>(r)].extent);
    }
    const auto found = clip_window(program_, items_[0], extents);
    if (!found || stages_[0].members.size() != 1 || !stages_[0].tails.empty()) return;
    clips_ = *found;
    items_[0].statement.body.args.clear();
    for (std::vector<Loop>* loops : {&stages_[0].space, &stages_[0].reduce}) {
      for (Loop& loop : *loops) {
        if (clips_.count(loop.name) == 0) continue;
        loop.begin = "begin_" + loop.name;
        loop.end = "end_" + loop.name;
      }
    }
  }

  /// The clipped loops' bounds in this row; what the row has outside them.
  void print_padding() {
    for (const auto& [name, part] : clips_) {
      out_->add(fmt::format("const int64_t begin_{} = {};", name, part.begin));
      out_->add(fmt::format("const int64_t end_{0} = q_imax(begin_{0}, {1});", name, part.end));
    }
    const Stage& stage = stages_[0];
    if (clips_.count(stage.lane) == 0) return;
    const Item& row = items_[0];
    const std::string& name = row.statement.name;
    const std::string store = fmt::format("q_st(QOne{{}}, {} + {}, {}::id());", tensor_id(name),
                                          c_offset(program_, program_.shape_of(name), row.store),
                                          monoid_struct(row.statement.monoid));
    for (const Loop& loop : row.space) {
      const std::string axis = axis_id(loop.name);
      if (loop.name != stage.lane) continue;
      out_->add(
          fmt::format("for (int64_t {0} = 0; {0} < begin_{1}; ++{0}) {2}", axis, loop.name, store));
      out_->add(fmt::format("for (int64_t {0} = end_{1}; {0} < {2}; ++{0}) {3}", axis, loop.name,
                            c_int(program_, loop.extent), store));
    }
  }

  /// With one stage whose lanes carry nothing, threads may also share the lane loop.
  void cut_blocks() {
    if (stages_.size() != 1) return;
    Stage& stage = stages_[0];
    const Item& first = items_[static_cast<size_t>(stage.members[0])];
    const bool scans = first.scan >= 0;
    const bool carried =
        (!stage.lane_is_spatial && first.statement.kind != Statement::Kind::kMap) ||
        (scans && first.space[static_cast<size_t>(first.scan)].name == stage.lane);
    if (stage.lane.empty() || carried) return;
    for (int member : stage.members) {
      const Item& item = items_[static_cast<size_t>(member)];
      if (item.statement.kind == Statement::Kind::kReduce && !stage.lane_is_spatial) return;
    }
    for (std::vector<Loop>* loops : {&stage.space, &stage.reduce}) {
      for (Loop& loop : *loops) {
        if (loop.name != stage.lane || loop.limit) continue;
        blocked_ = loop;
        loop.begin = "block_begin";
        loop.end = "block_end";
      }
    }
  }

  void cut_parts() {
    Stage& stage = stages_[0];
    Loop& loop = stage.reduce[0];
    const std::string extent = c_int(program_, loop.extent);
    const std::string part = axis_id("0");
    loop.begin = fmt::format("{} * {} / {}", extent, part, size_id(kParts));
    loop.end = fmt::format("{} * ({} + 1) / {}", extent, part, size_id(kParts));
  }

  const Statement& model() const { return statements_[static_cast<size_t>(rows_.reference)]; }

  std::string row_count() const {
    std::string rows = "int64_t{1}";
    for (int r = 0; r < rows_.rows; ++r) {
      rows += " * " + c_int(program_, model().axes[static_cast<size_t>(r)].extent);
    }
    return rows;
  }

  std::string units() {
    out_->add(fmt::format("const int64_t rows = {};", row_count()));
    if (!blocked_) return "rows";
    const std::string extent = c_int(program_, blocked_->extent);
    out_->add(fmt::format("const int64_t block = {};", block_length(extent)));
    out_->add(fmt::format("const int64_t blocks = ({} + block - 1) / block;", extent));
    return "rows * blocks";
  }

  std::string block_length(const std::string& extent) const {
    const int64_t granule = std::max(style().unroll, style().tile);
    const int64_t block = group_.param("block", 0);
    if (block > 0) return fmt::format("q_imin({}, ({} + QN - 1) / QN * QN)", extent, block);
    const bool parallel = group_.param("parallel", 0) != 0;
    if (!parallel) return extent;
    return fmt::format("q_block({}, rows, {} * QN, q_threads())", extent, granule);
  }

  void print_self(bool parallel) {
    out_->add(fmt::format("const int64_t self = {}, team = {};", parallel ? "q_thread()" : "0",
                          parallel ? "q_team()" : "1"));
    out_->add("static_cast<void>(self);");
  }

  /// The first stage runs one row ahead of the others, into the other of two buffers: loads that
  /// straddle stores just made would wait until these, and streaming stores before them, are out.
  void print_ahead(bool parallel, RowPrinter* row) {
    print_self(parallel);
    out_->add("const int64_t first = units * self / team, last = units * (self + 1) / team;");
    out_->add("const auto ahead = [&](const int64_t unit) {");
    print_row_axes();
    print_row_buffers();
    print_padding();
    row->print(stages_[0]);
    out_->add("};");
    out_->add("if (first < last) ahead(first);");
    print_joint_states();
    out_->add("for (int64_t unit = first; unit < last; ++unit) {");
    if (joined().empty()) out_->add("if (unit + 1 < last) ahead(unit + 1);");
  }

  void print_share(bool parallel) {
    print_self(parallel);
    const int64_t chunk = group_.param("chunk", 0);
    if (parallel && chunk > 0) {
      out_->add("static_cast<void>(team);");
      out_->add(fmt::format("#pragma omp for schedule(dynamic, {})", chunk));
      out_->add("for (int64_t unit = 0; unit < units; ++unit) {");
    } else {
      print_joint_states();
      out_->add(
          "for (int64_t unit = units * self / team, last = units * (self + 1) / team; "
          "unit < last; ++unit) {");
    }
    if (blocked_) {
      out_->add("const int64_t block_begin = unit % blocks * block;");
      out_->add(fmt::format("const int64_t block_end = q_imin({}, block_begin + block);",
                            c_int(program_, blocked_->extent)));
    }
  }

  void print_row_axes() {
    if (rows_.rows == 0) return;
    out_->add(fmt::format("int64_t row = unit{};", blocked_ ? " / blocks" : ""));
    for (int r = rows_.rows - 1; r >= 0; --r) {
      const std::string axis = axis_id(std::to_string(r));
      const std::string extent = c_int(program_, model().axes[static_cast<size_t>(r)].extent);
      if (r == 0) {
        out_->add(fmt::format("const int64_t {} = row;", axis));
        continue;
      }
      out_->add(fmt::format("const int64_t {} = row % {};", axis, extent));
      out_->add(fmt::format("row /= {};", extent));
    }
  }

  /// Statements with loops of their own that a later stage reads, and that are not written outside.
  std::vector<size_t> buffered() const {
    std::vector<size_t> found;
    for (size_t i = 0; i < items_.size(); ++i) {
      if (items_[i].space.empty() || contains(writes_, items_[i].statement.name)) continue;
      if (read_by_other_stage(i)) found.push_back(i);
    }
    return found;
  }

  bool read_by_other_stage(size_t made) const {
    for (const Stage& stage : stages_) {
      std::vector<int> all = stage.members;
      all.insert(all.end(), stage.tails.begin(), stage.tails.end());
      if (std::find(all.begin(), all.end(), static_cast<int>(made)) != all.end()) continue;
      for (int index : all) {
        const ir::Expr& body = items_[static_cast<size_t>(index)].statement.body;
        if (contains(ir::tensors_of(body), items_[made].statement.name)) return true;
      }
    }
    return false;
  }

  std::set<std::string> stored() const {
    std::set<std::string> names(writes_.begin(), writes_.end());
    for (size_t i : buffered()) names.insert(items_[i].statement.name);
    return names;
  }

  /// Elements of one row of a statement, as an upper bound.
  IntExpr row_elements(size_t i) const {
    const Statement& statement = statements_[i];
    IntExpr count = ir::int_constant(1);
    for (size_t a = 0; a < statement.axes.size(); ++a) {
      if (a >= rows_.bindings[i].size()) {
        count = std::move(count) * statement.axes[a].extent;
      } else if (rows_.bindings[i][a].factor) {
        count = std::move(count) * *rows_.bindings[i][a].factor;
      }
    }
    return count;
  }

  void print_scratch() {
    int id = number_ * 64 + (in_parts_ ? 32 : 0);
    for (size_t i : buffered()) {
      const std::string& name = items_[i].statement.name;
      const std::string type = c_type(items_[i].statement.type);
      out_->add(fmt::format("const int64_t n_{} = ({} + 63) / 64 * 64;", name,
                            c_int(program_, row_elements(i))));
      out_->add(fmt::format(
          "{0}* const b_{1} = static_cast<{0}*>(q_scratch({2}, n_{1} * q_threads() * {3} * "
          "static_cast<int64_t>(sizeof({0}))));",
          type, name, id++, in_windows_ ? 2 : 1));
    }
  }

  /// Row buffers look like the whole tensor, shifted, so that one form of index serves both.
  void print_row_buffers() {
    for (size_t i : buffered()) {
      const Statement& statement = statements_[i];
      std::vector<IntExpr> start;
      for (size_t a = 0; a < statement.axes.size(); ++a) {
        if (a >= rows_.bindings[i].size()) {
          start.push_back(ir::int_constant(0));
          continue;
        }
        IntExpr row = ir::int_axis(std::to_string(a));
        if (rows_.bindings[i][a].factor) row = std::move(row) * *rows_.bindings[i][a].factor;
        start.push_back(std::move(row));
      }
      out_->add(fmt::format("{}* const {} = b_{} + n_{} * {} - ({});", c_type(statement.type),
                            tensor_id(statement.name), statement.name, statement.name,
                            in_windows_ ? "(2 * self + unit % 2)" : "self",
                            c_offset(program_, program_.shape_of(statement.name), start)));
    }
  }

  /// Streamed tensors that each thread writes from one end to the other, row after row. Short rows
  /// share cache lines with their neighbours, and a line written in two parts past the caches, or
  /// half past and half through them, costs more than many whole ones: a row is made in a buffer
  /// then, and leaves it line by line.
  std::vector<std::string> joined() const {
    std::vector<std::string> names;
    if (blocked_ || rows_.rows == 0 || group_.param("chunk", 0) != 0) return names;
    for (size_t i = 0; i < items_.size(); ++i) {
      const std::vector<RowBinding>& rows = rows_.bindings[i];
      const bool plain = static_cast<int>(rows.size()) == rows_.rows &&
                         std::none_of(rows.begin(), rows.end(),
                                      [](const RowBinding& row) { return row.factor.has_value(); });
      if (plain && streamed().count(items_[i].statement.name) != 0) {
        names.push_back(items_[i].statement.name);
      }
    }
    return names;
  }

  /// Where each joined tensor is, how long its rows are, and memory for one row a thread.
  void print_joints() {
    int id = number_ * 64 + (in_parts_ ? 48 : 16);
    for (size_t i = 0; i < items_.size(); ++i) {
      const std::string& name = items_[i].statement.name;
      if (!contains(joined(), name)) continue;
      out_->add(fmt::format("const q_rows whole_{} = q_rows_of({}, {}, {});", name, tensor_id(name),
                            c_int(program_, row_elements(i)), id++));
    }
  }

  void print_joint_states() {
    for (const std::string& name : joined()) {
      out_->add(fmt::format("q_joint joint_{0} = q_joint_at(whole_{0}, units * self / team, self);",
                            name));
    }
  }

  std::set<std::string> streamed() const {
    std::set<std::string> names;
    for (const std::string& name : writes_) {
      const Statement* statement = program_.find_statement(name);
      if (group_.param("nt." + name, 0) == 0 || statement->type != DType::kF32) continue;
      bool ok = true;
      for (const Item& item : items_) {
        if (contains(ir::tensors_of(item.statement.body), name)) ok = false;
        // Whole-vector stores need unit stride along the lanes.
        if (item.statement.name != name || item.store.empty()) continue;
        if (item.store.back() != ir::int_axis(item.lane)) {
          const auto stride = coefficient(item.store.back(), item.lane);
          if (!stride || *stride != ir::int_constant(1)) ok = false;
        }
      }
      if (ok) names.insert(name);
    }
    return names;
  }

  RowStyle style() const {
    RowStyle style;
    style.vectorize = group_.param("vectorize", 0) != 0;
    const int64_t wanted = std::max(group_.param("unroll", 1), group_.param("accumulators", 1));
    style.unroll = static_cast<int>(std::clamp<int64_t>(wanted, 1, 16));
    style.tile = style.unroll;
    style.prefetch_rows = static_cast<int>(group_.param("prefetch", 0));
    const auto passes = std::count_if(stages_.begin(), stages_.end(), [](const Stage& stage) {
      return !stage.space.empty() || !stage.reduce.empty();
    });
    if (passes == 1) style.prefetch_lanes = kPageElements * style.prefetch_rows;
    style.streamed = streamed();
    for (const std::string& name : joined()) style.joined.insert(name);
    if (in_windows_) style.window = statements_[0].name;
    return style;
  }

  const Program& program_;
  const Group& group_;
  int number_;
  std::vector<Statement> statements_;
  std::vector<std::string> writes_;
  Lines* out_;
  RowPlan rows_;
  std::vector<Item> items_;
  std::vector<Stage> stages_;
  std::optional<Loop> blocked_;
  bool in_parts_ = false;
  bool in_windows_ = false;
  std::map<std::string, LoopClip> clips_;  ///< of the row of partial window results
};

/// The two halves of an rfactor: partial results by part, then their combination.
struct Halves {
  Program program;  ///< the given one, with the partial tensor
  Statement partial;
  std::vector<Statement> combine;
};

Halves factor(const Program& program, const std::vector<Statement>& statements) {
  Halves halves{program, statements[0], statements};
  Statement& partial = halves.partial;
  const ir::Axis part{kPartAxis, ir::int_size(kParts)};
  partial.name = "0" + statements[0].name;
  partial.is_output = false;
  partial.axes.insert(partial.axes.begin(), part);
  Statement& whole = halves.combine[0];
  whole.reduce_axes = {part};
  std::vector<IntExpr> indices = {ir::int_axis(kPartAxis)};
  for (const ir::Axis& axis : whole.axes) indices.push_back(ir::int_axis(axis.name));
  whole.body = ir::load(partial.name, std::move(indices));
  halves.program.statements.push_back(partial);
  return halves;
}

void print_rfactor(const Program& program, const Group& group, int number,
                   const std::vector<Statement>& statements, const std::vector<std::string>& writes,
                   Lines* out) {
  const Halves halves = factor(program, statements);
  const Statement& original = statements[0];
  const int64_t parts = group.param("parts", 0);
  out->add(fmt::format("const int64_t {} = q_imax(1, q_imin({}, {}));", size_id(kParts),
                       c_int(program, original.reduce_axes[0].extent),
                       parts > 0 ? std::to_string(parts) : "q_threads()"));
  std::string count = size_id(kParts);
  for (const ir::Axis& axis : original.axes) count += " * " + c_int(program, axis.extent);
  out->add(fmt::format("float* const {} = static_cast<float*>(q_scratch({}, {} * 4));",
                       tensor_id(halves.partial.name), number * 64 + 63, count));
  Group first = group;
  // The same axis in lanes as before: never the new one, which threads share.
  const int forced = static_cast<int>(group.param("axis." + original.name, -1));
  const int spatial = vector_position(original, forced);
  const int last = static_cast<int>(original.axes.size() + original.reduce_axes.size()) - 1;
  first.params["axis." + halves.partial.name] =
      1 + (spatial >= 0 ? spatial : (forced >= 0 ? forced : last));
  out->add("{");
  NestPrinter partial(halves.program, first, number, {halves.partial}, {halves.partial.name}, out);
  partial.in_parts();
  partial.print();
  out->add("}");
  Group second = group;
  second.params.erase("axis." + original.name);
  second.params.erase("nt." + original.name);
  out->add("{");
  NestPrinter(halves.program, second, number, halves.combine, writes, out).print();
  out->add("}");
}

/// Lanes of both halves run along the last spatial axis.
void print_window(const SplitWindow& split, const Group& group, int number,
                  const std::vector<std::string>& writes, Lines* out) {
  Group halves = group;
  for (size_t s = 0; s < 2; ++s) {
    const Statement& half = split.statements[s];
    halves.params["axis." + half.name] = static_cast<int64_t>(half.axes.size()) - 1;
  }
  NestPrinter nest(split.program, halves, number, split.statements, writes, out);
  nest.in_windows();
  nest.print();
}

}  // namespace

Result<std::string> emit_nest_group(const Program& program, const Group& group, int group_number) {
  const std::vector<Statement> statements = inline_group(program, group);
  const std::vector<std::string> writes = group_writes(program, group);
  Lines out;
  out.add(group_signature(program, group, group_number) + " {");
  out.add("QUERN_SIZES;");
  out.add("[[maybe_unused]] constexpr QBorder inside{};");
  if (group.param("rfactor", 0) != 0) {
    print_rfactor(program, group, group_number, statements, writes, &out);
  } else if (const auto split = split_window(program, statements);
             split && group.param("vectorize", 0) != 0) {
    print_window(*split, group, group_number, writes, &out);
  } else {
    NestPrinter(program, group, group_number, statements, writes, &out).print();
  }
  out.add("}");
  return out.text();
}

}  // namespace quern
