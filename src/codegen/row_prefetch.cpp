// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "codegen/group.h"
#include "codegen/row.h"

// What a row asks of memory ahead of its use.
namespace quern {
namespace {

using ir::Expr;

constexpr int kAheadOfWindow =
    256;                        ///< elements from the end of a window, or from each of its loads
constexpr int kStepsAhead = 6;  ///< of a loop that walks down memory

/// A load that walks through an input along with the lanes.
struct Stream {
  std::string tensor;
  ir::IntExpr offset;  ///< of the load, in elements
};

/// The unguarded streams of a stage's members.
std::vector<Stream> streams_of(const ir::Program& program, const std::vector<Item>& items,
                               const Stage& stage) {
  std::vector<Stream> found;
  for (int member : stage.members) {
    for (const Expr* load : ir::loads_of(items[static_cast<size_t>(member)].statement.body)) {
      if (program.find_input(load->name) == nullptr || !load->args.empty()) continue;
      ir::IntExpr offset = flat_offset(program.shape_of(load->name), load->indices);
      const auto lane = coefficient(offset, stage.lane);
      if (!lane || *lane != ir::int_constant(1)) continue;
      found.push_back({load->name, std::move(offset)});
    }
  }
  return found;
}

}  // namespace

/// A single pass over memory asks for what it will read a few pages on: the processor's own
/// prefetchers stop at page ends.
void RowPrinter::print_lane_prefetches(const Stage& stage, Lines* body) const {
  std::set<std::string> asked;
  for (const Stream& stream : streams_of(program_, items_, stage)) {
    if (!asked.insert(stream.tensor).second) continue;
    body->add(fmt::format("__builtin_prefetch({} + {} + {});", tensor_id(stream.tensor),
                          c_int(program_, stream.offset), style_.prefetch_lanes));
  }
}

/// While one pass over a cached row computes, memory can already fetch a later row: asks for the
/// elements that the first stage will load there, at the same point of its loops or, where these
/// differ, where this stage itself reads that tensor.
void RowPrinter::print_prefetches(const Stage& stage, Lines* body) const {
  if (style_.prefetch_lanes > 0) return print_lane_prefetches(stage, body);
  if (first_ == nullptr || style_.prefetch_rows <= 0) return;
  const Expr& fetched = item(first_->members[0]).statement.body;
  const bool same = item(first_->members[0]).loops() == item(stage.members[0]).loops() &&
                    first_->lane == stage.lane;
  const std::vector<std::string> wanted = ir::tensors_of(fetched);
  for (int member : same ? std::vector<int>{first_->members[0]} : stage.members) {
    for (const Expr* load : ir::loads_of(item(member).statement.body)) {
      if (program_.find_input(load->name) == nullptr || load->indices.empty()) continue;
      if (std::find(wanted.begin(), wanted.end(), load->name) == wanted.end()) continue;
      // The row axis that moves slowest through this tensor's memory but is the last row axis.
      int row = -1;
      for (const ir::IntExpr& index : load->indices) {
        const bool is_row = index.kind == ir::IntExpr::Kind::kAxis && index.name[0] != 'x';
        if (is_row) row = std::max(row, std::stoi(index.name));
      }
      const ir::IntExpr offset = flat_offset(program_.shape_of(load->name), load->indices);
      if (row < 0) continue;
      const auto step = coefficient(offset, std::to_string(row));
      const auto lane = coefficient(offset, stage.lane);
      if (!step || !lane || *lane != ir::int_constant(1)) continue;
      body->add(fmt::format("__builtin_prefetch({} + {} + {} * {}, 0, 2);", tensor_id(load->name),
                            c_int(program_, offset), style_.prefetch_rows, c_int(program_, *step)));
      return;
    }
  }
}

/// A long walk down memory touches a page a step: it asks for the elements some steps ahead.
void RowPrinter::print_step_prefetches(const Stage& stage, Lines* body) const {
  if (style_.prefetch_rows <= 0 || first_ != nullptr) return;
  if (style_.apart) {
    for (const Stream& stream : streams_of(program_, items_, stage)) {
      body->add(fmt::format("__builtin_prefetch({} + {} + {});", tensor_id(stream.tensor),
                            c_int(program_, stream.offset), kAheadOfWindow * style_.prefetch_rows));
    }
    return;
  }
  const auto far = std::find_if(stage.reduce.rbegin(), stage.reduce.rend(), [](const Loop& loop) {
    return loop.extent.kind != ir::IntExpr::Kind::kConstant;
  });
  if (far == stage.reduce.rend()) return;
  std::set<std::string> asked;
  for (const Stream& stream : streams_of(program_, items_, stage)) {
    const auto step = coefficient(stream.offset, far->name);
    if (!step || *step == ir::int_constant(0)) continue;
    if (!asked.insert(stream.tensor).second) continue;
    body->add(fmt::format("__builtin_prefetch({} + {} + {} * {});", tensor_id(stream.tensor),
                          c_int(program_, stream.offset), kStepsAhead * style_.prefetch_rows,
                          c_int(program_, *step)));
  }
}

/// The end of a window asks for what later rows of windows will read.
void RowPrinter::print_window_prefetches(const Stage& stage) {
  if (style_.prefetch_rows <= 0 || first_ != nullptr || style_.apart) return;
  std::vector<std::string> names;
  std::vector<ir::IntExpr> last;
  for (const Loop& loop : stage.reduce) {
    if (loop.extent.kind != ir::IntExpr::Kind::kConstant) return;
    names.push_back(loop.name);
    last.push_back(ir::int_constant(loop.extent.value - 1));
  }
  for (int member : stage.members) {
    for (const Expr* load : ir::loads_of(item(member).statement.body)) {
      if (program_.find_input(load->name) == nullptr || load->indices.empty()) continue;
      const ir::IntExpr offset = flat_offset(program_.shape_of(load->name), load->indices);
      const auto lane = coefficient(offset, stage.lane);
      if (!lane || *lane != ir::int_constant(1)) continue;
      out_->add(fmt::format("__builtin_prefetch({} + {} + {});", tensor_id(load->name),
                            c_int(program_, ir::substitute(offset, names, last)),
                            kAheadOfWindow * style_.prefetch_rows));
    }
  }
}

}  // namespace quern
