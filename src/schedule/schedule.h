// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/program.h"
#include "schedule/actions.h"
#include "schedule/trace.h"

namespace quern {

/// Which code generator owns a group of statements.
enum class Skeleton {
  kNest,         ///< fused loop nests: map, row reduction, softmax, norms, scan, pooling, transpose
  kContraction,  ///< packed GEMM over any two-operand product sum (matmul, conv, …) with epilogue
  kAttention,    ///< two contractions around a row softmax, tiled so that scores stay in cache
  kRecurrence,   ///< all statements of a recurrence (ir/recurrence.h), step after step
};

/// Statements computed by one loop structure. Intermediates used only inside a group live in
/// registers or row buffers; the rest are materialised.
struct Group {
  Skeleton skeleton = Skeleton::kNest;
  std::vector<int> statements;            ///< indices into Program::statements, in order
  std::vector<int> inlined;               ///< of these, those recomputed by every reader, never
                                          ///< stored; they may be in other groups as well
  int root = -1;                          ///< the statement that owns the loop structure
  std::map<std::string, int64_t> params;  ///< "vector_width", "mr", "nr", "kc", …
  int64_t param(const std::string& name, int64_t fallback) const;
};

/// A program with every decision taken: what `codegen` prints.
struct Schedule {
  std::vector<Group> groups;  ///< in execution order; together they cover every live statement
  Trace trace;                ///< the actions that led here
};

/// Replays a trace. An illegal step is an error of kind kInput that says which step and why.
/// `sizes` are those the plan is tuned for; the schedule stays correct for any sizes.
Result<Schedule> apply(const Trace& trace, const ir::Program& program, const ir::Sizes& sizes,
                       ScheduleTarget target = ScheduleTarget::kCpu);

/// The schedule with one more step; the same as replaying its trace and the step. Errors: as
/// `apply`.
Result<Schedule> extend(const Schedule& schedule, Step step, const ir::Program& program,
                        const ir::Sizes& sizes, ScheduleTarget target = ScheduleTarget::kCpu);

/// Every step that may follow the trace, numeric arguments at a middling value: the mask of a model
/// that chooses actions, and the menu of a person. Empty where the trace itself is illegal.
std::vector<Step> legal_actions(const ir::Program& program, const Trace& trace,
                                const ir::Sizes& sizes,
                                ScheduleTarget target = ScheduleTarget::kCpu);

}  // namespace quern
