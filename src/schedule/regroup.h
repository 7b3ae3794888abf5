// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "schedule/schedule.h"

/// The actions that move statements between groups. Each either leaves the state legal (fused
/// statements share a loop structure, groups are in an order that can run) or leaves it as it was.
namespace quern {

/// Why a step is illegal; empty: it is legal.
using Reason = std::string;

/// A schedule while its trace is replayed.
struct ScheduleState {
  const ir::Program& program;
  const ir::Sizes& sizes;
  std::vector<Group> groups;
  ScheduleTarget target = ScheduleTarget::kCpu;

  const ir::Statement& statement(int index) const {
    return program.statements[static_cast<size_t>(index)];
  }
};

bool contains(const std::vector<int>& list, int value);

/// Why no action touches a recurrence.
inline constexpr const char* kRecurrenceReason =
    "it is part of a recurrence, which runs in one loop over its steps as it is";
/// Whether the group that owns a statement is a recurrence.
bool in_recurrence(const ScheduleState& state, int statement);

/// The group that stores (or at least owns) a statement; -1 for one that was inlined away.
int owner(const ScheduleState& state, int statement);
/// The same of a statement that has one.
Group& owner_group(ScheduleState& state, int statement);

/// Whether a group's statements can run in one loop structure.
Reason check_fused(const ScheduleState& state, const Group& group);

/// Merges the groups that own two statements.
Reason merge_groups(ScheduleState* state, int a, int b);
/// Lets every reader of a map recompute it.
Reason inline_statement(ScheduleState* state, int producer);
/// Takes a statement out of its group into one of its own.
Reason compute_root(ScheduleState* state, int statement);

}  // namespace quern
