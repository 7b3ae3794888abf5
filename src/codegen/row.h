// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <vector>

#include "codegen/lines.h"
#include "codegen/point.h"
#include "codegen/stage.h"

namespace quern {

/// How the stages of a row are printed.
struct RowStyle {
  bool vectorize = true;
  int unroll = 1;              ///< vectors a step of maps, and accumulators of row reductions
  int tile = 1;                ///< vectors side by side in reductions along outer axes
  int prefetch_rows = 0;       ///< rows ahead that later stages ask for what the first one loads
  int prefetch_lanes = 0;      ///< elements ahead that a nest of one pass asks for
  bool approximate = false;    ///< exponentials and divisions by a row value, one or two ulp off
  bool keeps_scalars = false;  ///< values of a row are assigned to variables that exist already
  std::string window;          ///< a row of partial window results; "" for none
  bool pairs = false;          ///< it holds each combined with the one before it
  bool apart = false;          ///< no two such rows are made of the same elements
  std::set<std::string> streamed;  ///< tensors stored past the caches
  std::set<std::string> joined;    ///< of these, those whose short rows go through a buffer
};

/// Prints the inside of a row: one loop nest a stage, in order.
class RowPrinter {
 public:
  RowPrinter(const ir::Program& program, const std::vector<Item>& items, RowStyle style,
             std::set<std::string> stored, Lines* out)
      : program_(program),
        items_(items),
        style_(std::move(style)),
        stored_(std::move(stored)),
        out_(out) {}

  void print(const Stage& stage);

  // The pieces of a stage whose lanes run along its only loop, for loops that several share.
  void declare_row_accumulators(const Stage& stage);
  /// What happens at one point, into `body`, and its stores into `stores`; definitions that hold
  /// for the whole loop over lanes go to the output.
  void print_point(const Stage& stage, Lines* body, Lines* stores);
  void print_finishes(const Stage& stage);
  /// ", &c_…" of the stage's accumulators, for a capture list.
  std::string accumulators_by_reference(const Stage& stage) const;
  std::string open_lanes(const Stage& stage) const;  ///< `q_loop…(…, [&](…) {`

  /// Stages printed from now on ask for the loads of `first` in a row ahead; null: no longer.
  void prefetch_for(const Stage* first) { first_ = first; }

 private:
  void print_scalar(const Stage& stage);
  void print_across_lanes(const Stage& stage);  ///< lanes run along an inner (or reduced) loop
  void declare_tile_accumulators(const Stage& stage);
  void print_tile_results(const Stage& stage);
  void print_down_lanes(const Stage& stage);  ///< lanes run along an outer loop of a reduction
  void print_scan_along(const Stage& stage);
  void print_scan_down(const Stage& stage);
  void print_member(const Stage& stage, const Item& item, PointPrinter* printer, Lines* out,
                    Lines* stores, const std::string& accumulator);
  void print_finish(const Stage& stage, const Item& item);
  void print_tails(const Stage& stage, bool lanes);
  void print_store(const Item& item, const std::string& tag, const std::string& value,
                   Lines* out) const;
  ir::IntExpr store_stride(const Item& item) const;
  PointPrinter printer_for(const Stage& stage, const Item& item, bool lanes) const;
  void print_lane_prefetches(const Stage& stage, Lines* body) const;
  void print_prefetches(const Stage& stage, Lines* body) const;
  std::string inside_condition(
      const Stage& stage, const std::vector<std::pair<ir::IntExpr, ir::IntExpr>>& guards) const;
  void open_loop(const Loop& loop);
  void open_loops(const std::vector<Loop>& loops, const std::string& except);
  void close(size_t count);
  std::string window_source(const Stage& stage) const;
  void print_step_prefetches(const Stage& stage, Lines* body) const;
  void print_window_prefetches(const Stage& stage);
  bool holds_pairs(const Stage& stage) const;
  std::string joined_row(const Stage& stage) const;
  void print_last_pair(const Stage& stage);
  std::string lane_loop(const Stage& stage, const std::string& down) const;
  const Item& item(int index) const { return items_[static_cast<size_t>(index)]; }
  const Loop& lane_of(const Stage& stage) const;
  std::string integer_value(const Item& item) const;

  const ir::Program& program_;
  const std::vector<Item>& items_;
  RowStyle style_;
  std::set<std::string>
      stored_;  ///< tensors with memory: written outside, or read by a later stage
  Lines* out_;
  const Stage* first_ = nullptr;
};

/// C++ of a loop's upper bound.
std::string loop_end(const ir::Program& program, const Loop& loop);
bool is_reduction(const Item& item);
/// The array with a reduction's accumulators.
std::string accumulator_id(const Item& item);
/// "QSum", "QArgMax", …: the prelude's name.
std::string monoid_struct(ir::Monoid monoid);
bool is_arg(ir::Monoid monoid);
/// The variable with a statement's value at the current point.
std::string value_id(const std::string& tensor);

}  // namespace quern
