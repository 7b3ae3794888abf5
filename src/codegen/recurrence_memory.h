// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ir/recurrence.h"

namespace quern {

/// Where generated CPU code keeps what the statements of a recurrence make. What only the
/// recurrence itself reads is kept for as many steps as a read reaches back, which stays in the
/// caches: such a tensor is cycled, its place along the steps is counted modulo `slots()`.
class RecurrenceMemory {
 public:
  /// `stored`: the tensors that others read, which are kept whole.
  RecurrenceMemory(const ir::Program& program, const ir::Recurrence& recurrence,
                   const std::vector<std::string>& stored);

  /// Threads are less than a step apart, so one step more than reads need is room enough.
  int64_t slots() const { return recurrence_.reach + 2; }
  bool cycles() const { return !cycled_.empty(); }
  /// The axis that stands for the place of the step `back` steps ago.
  static std::string slot(int64_t back);

  /// The expression with `else` of cycled tensors as selections by step: places are always inside.
  ir::Expr guarded(const ir::Expr& in) const;
  /// Extents of a tensor in memory, and the indices of an element there.
  std::vector<ir::IntExpr> shape(const std::string& tensor) const;
  std::vector<ir::IntExpr> indices(const std::string& tensor,
                                   std::vector<ir::IntExpr> indices) const;

 private:
  bool is_cycled(const std::string& tensor) const;
  bool may_cycle(int statement) const;
  size_t step_place(const std::string& tensor) const;

  const ir::Program& program_;
  const ir::Recurrence& recurrence_;
  std::vector<std::string> cycled_;
};

}  // namespace quern
