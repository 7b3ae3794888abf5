// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "codegen/lines.h"
#include "codegen/row.h"
#include "codegen/stage.h"
#include "codegen/window.h"
#include "codegen/window_clip.h"
#include "ir/program.h"
#include "schedule/schedule.h"

namespace quern {

/// An rfactor's number of parts (a size of the generated code) and its axis of parts.
inline constexpr const char* kPartsSize = "0parts";
inline constexpr const char* kPartsAxis = "0part";

inline bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Prints one loop structure: a list of statements run row by row.
class NestPrinter {
 public:
  NestPrinter(const ir::Program& program, const Group& group, int number,
              std::vector<ir::Statement> statements, std::vector<std::string> writes, Lines* out)
      : program_(program),
        group_(group),
        number_(number),
        statements_(std::move(statements)),
        writes_(std::move(writes)),
        out_(out) {}

  /// The first reduce loop of the only statement covers a part of its range.
  void in_parts() { in_parts_ = true; }
  /// The first statement is the first half of that split window.
  void in_windows(const SplitWindow& split) {
    in_windows_ = true;
    pairs_ = split.pairs;
    apart_ = split.apart;
    step_ = split.step;
  }

  /// Error: the group asks for what its rows do not allow.
  Result<void> print();

 private:
  void plan();
  void cut_padding();
  void cut_blocks();
  void cut_parts();
  const ir::Statement& model() const { return statements_[static_cast<size_t>(rows_.reference)]; }
  std::string row_count() const;
  std::string units();
  std::string block_length(const std::string& extent) const;
  void print_self(bool parallel);
  void print_ahead(bool parallel, RowPrinter* row);
  void print_share(bool parallel);
  void print_row_axes();
  std::set<std::string> streamed() const;
  RowStyle style() const;

  void print_rows(bool parallel);

  // Rows that overlap: nest_pipeline.cpp.
  bool fits_pipeline(const Stage& stage, const Stage& other) const;
  Result<void> plan_pipeline();
  Result<void> check_pipeline_memory() const;
  size_t stage_of_item(int item) const;
  size_t last_pass() const;
  int age_of(size_t made, size_t reader) const;
  int oldest_use(size_t made) const;
  void declare_kept();
  void print_aging(size_t stage);
  void print_ages(size_t stage);
  void print_row_scope(size_t stage);
  void print_early(RowPrinter* row);
  bool passes_are_free() const;
  void print_shared_body(RowPrinter* row);
  void print_fused(RowPrinter* row);
  void print_late(RowPrinter* row);
  void print_pipeline(bool parallel);

  // Memory of rows: nest_buffers.cpp.
  std::vector<size_t> buffered() const;
  bool read_by_other_stage(size_t made) const;
  std::set<std::string> stored() const;
  ir::IntExpr row_elements(size_t i) const;
  std::string thread_room(const std::string& name) const;
  void print_scratch();
  void print_row_buffers();
  void print_padding();
  std::vector<std::string> joined() const;
  void print_joints();
  void print_joint_states();
  void print_joint_rows();
  void print_joins();

  const ir::Program& program_;
  const Group& group_;
  int number_;
  std::vector<ir::Statement> statements_;
  std::vector<std::string> writes_;
  Lines* out_;
  RowPlan rows_;
  std::vector<Item> items_;
  std::vector<Stage> stages_;
  std::optional<Loop> blocked_;
  bool in_parts_ = false;
  bool in_windows_ = false;
  bool pairs_ = false;
  bool apart_ = false;
  int64_t step_ = 1;
  std::vector<int> lags_;    ///< by stage: rows behind the newest; empty: rows do not overlap
  std::vector<bool> fused_;  ///< by stage: whether it runs in the shared loop
  size_t first_fused_ = 0;   ///< the first such stage
  std::map<std::string, LoopClip> clips_;  ///< of the row of partial window results
};

}  // namespace quern
