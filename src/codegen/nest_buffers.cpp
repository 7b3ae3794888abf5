// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "codegen/group.h"
#include "codegen/nest_printer.h"

// The memory of rows: buffers of what later stages read, rows that leave by whole cache lines, and
// what a row of windows has outside its tensor.
namespace quern {

using ir::IntExpr;
using ir::Statement;

/// Statements with loops of their own that a later stage reads, and that are not written outside.
std::vector<size_t> NestPrinter::buffered() const {
  std::vector<size_t> found;
  for (size_t i = 0; i < items_.size(); ++i) {
    if (items_[i].space.empty() || contains(writes_, items_[i].statement.name)) continue;
    if (read_by_other_stage(i)) found.push_back(i);
  }
  return found;
}

bool NestPrinter::read_by_other_stage(size_t made) const {
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

std::set<std::string> NestPrinter::stored() const {
  std::set<std::string> names(writes_.begin(), writes_.end());
  for (size_t i : buffered()) names.insert(items_[i].statement.name);
  return names;
}

/// Elements of one row of a statement, as an upper bound.
IntExpr NestPrinter::row_elements(size_t i) const {
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

void NestPrinter::print_scratch() {
  int id = number_ * 64 + (in_parts_ ? 32 : 0);
  for (size_t i : buffered()) {
    const std::string& name = items_[i].statement.name;
    const std::string type = c_type(items_[i].statement.type);
    // Windows are computed by whole vectors, beyond the last one.
    const int64_t room = in_windows_ ? 32 * step_ : 0;
    out_->add(fmt::format("const int64_t n_{} = ({} + {}) / 64 * 64;", name,
                          c_int(program_, row_elements(i)), 63 + room));
    out_->add(fmt::format("const int64_t m_{} = {};", name, thread_room(name)));
    out_->add(
        fmt::format("{0}* const b_{1} = static_cast<{0}*>(q_scratch({2}, m_{1} * q_threads() * "
                    "static_cast<int64_t>(sizeof({0}))));",
                    type, name, id++));
  }
}

/// Elements of a thread's buffers for rows of `name`: one, or in windows two and whole pages.
std::string NestPrinter::thread_room(const std::string& name) const {
  if (!in_windows_) return "n_" + name;
  return fmt::format("(2 * n_{} + Q_PAGE - 1) / Q_PAGE * Q_PAGE", name);
}

/// Row buffers look like the whole tensor, shifted, so that one form of index serves both.
void NestPrinter::print_row_buffers() {
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
    const std::string second =
        in_windows_ ? fmt::format(" + n_{} * (unit % 2)", statement.name) : "";
    out_->add(fmt::format("{0}* const {1} = b_{2} + m_{2} * self{3} - ({4});",
                          c_type(statement.type), tensor_id(statement.name), statement.name, second,
                          c_offset(program_, program_.shape_of(statement.name), start)));
  }
}

/// The clipped loops' bounds in this row; what the row has outside them.
void NestPrinter::print_padding() {
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

/// Streamed tensors that each thread writes from one end to the other, row after row. Short rows
/// share cache lines with their neighbours, and a line written in two parts past the caches, or
/// half past and half through them, costs more than many whole ones: a row is made in a buffer
/// then, and leaves it line by line.
std::vector<std::string> NestPrinter::joined() const {
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
void NestPrinter::print_joints() {
  int id = number_ * 64 + (in_parts_ ? 48 : 16);
  for (size_t i = 0; i < items_.size(); ++i) {
    const std::string& name = items_[i].statement.name;
    if (!contains(joined(), name)) continue;
    const std::string beside = in_windows_ ? "2 * n_" + statements_[0].name : "0";
    out_->add(fmt::format("const q_rows whole_{} = q_rows_of({}, {}, {}, {});", name,
                          tensor_id(name), c_int(program_, row_elements(i)), id++, beside));
  }
}

void NestPrinter::print_joint_states() {
  for (const std::string& name : joined()) {
    out_->add(
        fmt::format("q_joint joint_{0} = q_joint_at(whole_{0}, units * self / team, self);", name));
  }
}

/// Where to make this row of each joined tensor.
void NestPrinter::print_joint_rows() {
  for (const std::string& name : joined()) {
    out_->add(fmt::format("float* const {0} = q_row(joint_{1}, whole_{1}, unit);", tensor_id(name),
                          name));
  }
}

/// The row leaves its buffer.
void NestPrinter::print_joins() {
  for (const std::string& name : joined()) {
    out_->add(fmt::format("q_join(joint_{0}, whole_{0}, unit, unit + 1 == last);", name));
  }
}

}  // namespace quern
