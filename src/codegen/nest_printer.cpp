// SPDX-License-Identifier: Apache-2.0
#include "codegen/nest_printer.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/group.h"

namespace quern {

using ir::IntExpr;
using ir::Statement;

namespace {

constexpr int kPageElements = 1024;  ///< of a page of memory

}  // namespace

Result<void> NestPrinter::print() {
  plan();
  if (group_.param("pipeline", 0) > 1) QUERN_TRY(plan_pipeline());
  print_scratch();
  out_->add(fmt::format("const int64_t units = {};", units()));
  print_joints();
  const bool parallel = group_.param("parallel", 0) != 0;
  if (parallel) out_->add("#pragma omp parallel");
  out_->add("{");
  if (lags_.empty()) {
    print_rows(parallel);
  } else {
    print_pipeline(parallel);
  }
  if (!streamed().empty()) out_->add("q_fence();");
  out_->add("}");
  return {};
}

/// Rows one after the other, each with all of its stages.
void NestPrinter::print_rows(bool parallel) {
  RowPrinter row(program_, items_, style(), stored(), out_);
  const bool ahead = in_windows_ && group_.param("chunk", 0) == 0;
  if (ahead) {
    print_ahead(parallel, &row);
  } else {
    print_share(parallel);
  }
  print_row_axes();
  print_row_buffers();
  print_joint_rows();
  if (!ahead) print_padding();
  const bool late = group_.param("late", 0) != 0;
  size_t last = 0;
  for (size_t s = 0; s < stages_.size(); ++s) last = stages_[s].reduce.empty() ? last : s;
  for (size_t s = ahead ? 1 : 0; s < stages_.size(); ++s) {
    if (late && s > 0) row.prefetch_for(s == last ? &stages_[0] : nullptr);
    row.print(stages_[s]);
    if (late) continue;
    // The pass right after the first one over the row asks for the next row.
    const bool loops = !stages_[s].reduce.empty();
    if (s == 0) row.prefetch_for(&stages_[0]);
    if (s > 0 && loops) row.prefetch_for(nullptr);
  }
  if (ahead) out_->add("}");
  if (ahead && !joined().empty()) {
    out_->add("if (unit + 1 < last) ahead(unit + 1);");
    out_->add("if (unit >= first) {");
  }
  print_joins();
  if (ahead && !joined().empty()) out_->add("}");
  out_->add("}");
}

void NestPrinter::plan() {
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
void NestPrinter::cut_padding() {
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

/// With one stage whose lanes carry nothing, threads may also share the lane loop.
void NestPrinter::cut_blocks() {
  if (stages_.size() != 1) return;
  Stage& stage = stages_[0];
  const Item& first = items_[static_cast<size_t>(stage.members[0])];
  const bool scans = first.scan >= 0;
  const bool carried = (!stage.lane_is_spatial && first.statement.kind != Statement::Kind::kMap) ||
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

void NestPrinter::cut_parts() {
  Stage& stage = stages_[0];
  Loop& loop = stage.reduce[0];
  const std::string extent = c_int(program_, loop.extent);
  const std::string part = axis_id("0");
  loop.begin = fmt::format("{} * {} / {}", extent, part, size_id(kPartsSize));
  loop.end = fmt::format("{} * ({} + 1) / {}", extent, part, size_id(kPartsSize));
}

std::string NestPrinter::row_count() const {
  std::string rows = "int64_t{1}";
  for (int r = 0; r < rows_.rows; ++r) {
    rows += " * " + c_int(program_, model().axes[static_cast<size_t>(r)].extent);
  }
  return rows;
}

std::string NestPrinter::units() {
  out_->add(fmt::format("const int64_t rows = {};", row_count()));
  if (!blocked_) return "rows";
  const std::string extent = c_int(program_, blocked_->extent);
  out_->add(fmt::format("const int64_t block = {};", block_length(extent)));
  out_->add(fmt::format("const int64_t blocks = ({} + block - 1) / block;", extent));
  return "rows * blocks";
}

std::string NestPrinter::block_length(const std::string& extent) const {
  const int64_t granule = std::max(style().unroll, style().tile);
  const int64_t block = group_.param("block", 0);
  if (block > 0) return fmt::format("q_imin({}, ({} + QN - 1) / QN * QN)", extent, block);
  const bool parallel = group_.param("parallel", 0) != 0;
  if (!parallel) return extent;
  return fmt::format("q_block({}, rows, {} * QN, q_threads())", extent, granule);
}

void NestPrinter::print_self(bool parallel) {
  out_->add(fmt::format("const int64_t self = {}, team = {};", parallel ? "q_thread()" : "0",
                        parallel ? "q_team()" : "1"));
  out_->add("static_cast<void>(self);");
}

/// The first stage runs one row ahead of the others, into the other of two buffers: loads that
/// straddle stores just made would wait until these, and streaming stores before them, are out.
void NestPrinter::print_ahead(bool parallel, RowPrinter* row) {
  print_self(parallel);
  out_->add("const int64_t first = units * self / team, last = units * (self + 1) / team;");
  // Not compiled in place: the loops around it would lack registers.
  out_->add("const auto ahead = [&](const int64_t unit) __attribute__((noinline)) {");
  print_row_axes();
  print_row_buffers();
  print_padding();
  row->print(stages_[0]);
  out_->add("};");
  print_joint_states();
  out_->add("for (int64_t unit = first - 1; unit < last; ++unit) {");
  if (joined().empty()) out_->add("if (unit + 1 < last) ahead(unit + 1);");
  out_->add("if (unit >= first) {");
}

void NestPrinter::print_share(bool parallel) {
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

void NestPrinter::print_row_axes() {
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

std::set<std::string> NestPrinter::streamed() const {
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

RowStyle NestPrinter::style() const {
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
  style.approximate = group_.param("approximate", 0) != 0;
  style.streamed = streamed();
  for (const std::string& name : joined()) style.joined.insert(name);
  if (in_windows_) style.window = statements_[0].name;
  style.pairs = pairs_;
  style.apart = apart_;
  return style;
}

}  // namespace quern
