// SPDX-License-Identifier: Apache-2.0
#include "schedule/precision.h"

#include <fmt/format.h>

#include "schedule/rows.h"

namespace quern {
namespace {

/// How many products in TF32 stand for one of a contraction; 0: ordinary units.
Reason set_products(ScheduleState* state, int target, int64_t products) {
  Group& group = owner_group(*state, target);
  if (group.skeleton != Skeleton::kContraction) return "its group is not tensorized; do that first";
  group.params["tf32"] = products;
  return "";
}

}  // namespace

Reason set_precision(ScheduleState* state, int target, const Step& step) {
  const std::string* type = step.find("type");
  if (type != nullptr && *type != "tf32") return "a narrower type is `tf32`";
  if (state->program.precision != "as_reference") {
    return fmt::format("the contract of the task is {}", state->program.precision);
  }
  if (!walks_windows(state->statement(target))) return "it is no convolution";
  return set_products(state, target, 1);
}

Reason emulate_precision(ScheduleState* state, int target, const Step& step) {
  const std::string* method = step.find("method");
  if (method != nullptr && *method != "tf32x3") return "a method is `tf32x3`";
  Reason reason = set_products(state, target, 3);
  if (reason.empty()) owner_group(*state, target).params["terms"] = integer(step, "terms", 8);
  return reason;
}

}  // namespace quern
