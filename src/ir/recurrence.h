// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/check.h"
#include "ir/program.h"

namespace quern::ir {

/// Statements that depend on one another through earlier positions along an axis they share:
/// `h[t] = … h[t - 1] …`. They run together, one position of the axis after the other, each
/// statement once at every position, in the order of the program.
struct Recurrence {
  int first = 0;  ///< indices into Program::statements, both included
  int last = 0;
  std::string axis;            ///< the axis along which it runs
  std::vector<int> positions;  ///< where each of its statements has that axis, by order
  bool backwards = false;      ///< runs from the last position to the first
  int64_t reach = 0;           ///< the largest distance along the axis of a read

  bool holds(int statement) const { return first <= statement && statement <= last; }
  int position(int statement) const { return positions[static_cast<size_t>(statement - first)]; }
};

/// The recurrences of a program, in order. What they hold beyond the range is meaningful only
/// where `find_recurrence_fault` finds nothing.
std::vector<Recurrence> recurrences(const Program& program);

/// That which holds the statement, or null.
const Recurrence* recurrence_of(const std::vector<Recurrence>& list, int statement);

/// The first breach of their rules: one stretch of lines, one axis, reads at the same position of
/// what stands before or at a literal distance, all in one direction.
std::optional<Fault> find_recurrence_fault(const Program& program);

/// What is added to `axis` in an index: 0 for `t`, -1 for `t - 1`; empty for anything else.
std::optional<int64_t> offset_along(const IntExpr& index, const std::string& axis);

/// Moves statements that stand between those of a recurrence, and need none of them, in front of
/// it. Yields where each statement was: entry i is the former index of statement i.
std::vector<int> gather_recurrences(Program& program);

}  // namespace quern::ir
