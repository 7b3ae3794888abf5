// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "record/launch_plan.h"
#include "record/plan_cursor.h"

/// Values in the lines of a launch plan, as they stand at the cursor. Errors: kInput with the
/// place, and what could stand there.
namespace quern {

/// One of the words that `key` may be; its position among them.
Result<size_t> plan_choice(PlanCursor& cursor, const std::string& key,
                           const std::vector<std::string>& choices);

/// A whole number that does not depend on sizes.
Result<int64_t> plan_constant(PlanCursor& cursor, const std::string& what, int64_t low,
                              int64_t high);

Result<PlanType> plan_type(PlanCursor& cursor);

/// That all of them are whole numbers.
Result<void> all_whole(const PlanCursor& cursor, const std::vector<PlanExpr>& exprs);
Result<std::vector<PlanExpr>> plan_whole_list(PlanCursor& cursor, char open, char close);

/// `(e, e, e)`, or one number, name or call: a grid, block or cluster.
Result<std::vector<PlanExpr>> plan_dimensions(PlanCursor& cursor, const std::string& what);

/// `f32(0.5)`, with the type's name still at the cursor.
Result<LaunchArgument> plan_scalar(PlanCursor& cursor, PlanType type, const std::string& name);

}  // namespace quern
