// SPDX-License-Identifier: Apache-2.0
#include "record/plan_targets.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern {
namespace {

Result<void> check_shared(const LaunchPlan& plan, const LaunchDecl& launch) {
  const auto passed = std::ranges::count_if(launch.arguments, [](const LaunchArgument& a) {
    return a.kind == LaunchArgument::Kind::kShared;
  });
  const auto fail = [&](const std::string& what, const std::string& hint) -> Result<void> {
    return Error{ErrorKind::kInput, fmt::format("plan, line {}: {}", launch.line, what), hint};
  };
  if (passed > 0 && !launch.shared) {
    return fail("the argument 'shared' needs the launch's 'shared (bytes)'", "");
  }
  if (passed > 1) return fail("'shared' can be passed once", "offsets make several arrays of it");
  if (launch.shared && passed == 0 && plan.target != PlanTarget::kCuda) {
    return fail("'shared' bytes reach an OpenCL kernel through an argument",
                "write 'shared' among the args, at the place of the __local pointer");
  }
  return {};
}

}  // namespace

Result<void> check_plan_targets(const LaunchPlan& plan) {
  const auto only = [&](int line, const char* what, PlanTarget owner) -> Result<void> {
    if (plan.target == owner) return {};
    return Error{ErrorKind::kInput,
                 fmt::format("plan, line {}: {} cannot be used with target = {}", line, what,
                             plan_target_name(plan.target)),
                 fmt::format("it exists with target = {} only", plan_target_name(owner))};
  };
  for (const TensorMapDecl& map : plan.maps) {
    QUERN_TRY(only(map.line, "a tensor map", PlanTarget::kCuda));
  }
  if (plan.precompiled) QUERN_TRY(only(1, "code = cubin", PlanTarget::kCuda));
  for (const StepDecl& step : plan.steps) {
    if (const auto* copy = std::get_if<CopyDecl>(&step)) {
      QUERN_TRY(only(copy->line, "copy", PlanTarget::kCuda));
    }
    if (const auto* fill = std::get_if<FillDecl>(&step);
        fill != nullptr && fill->buffer.kind == BufferRef::Kind::kOutput) {
      QUERN_TRY(only(fill->line, "memset of an output", PlanTarget::kCuda));
    }
    const auto* launch = std::get_if<LaunchDecl>(&step);
    if (launch == nullptr) continue;
    if (std::ranges::any_of(launch->arguments, [](const LaunchArgument& argument) {
          return argument.kind == LaunchArgument::Kind::kStruct || argument.element;
        })) {
      QUERN_TRY(only(launch->line, "struct, or a pointer into a buffer,", PlanTarget::kCuda));
    }
    if (!launch->cluster.empty()) {
      QUERN_TRY(only(launch->line, "a cluster", PlanTarget::kCuda));
    }
    if (launch->programmatic && plan.target == PlanTarget::kOpenCl) {
      QUERN_TRY(only(launch->line, "programmatic", PlanTarget::kCuda));
    }
    if (launch->cooperative) {
      QUERN_TRY(only(launch->line, "cooperative", PlanTarget::kCuda));
    }
    QUERN_TRY(check_shared(plan, *launch));
  }
  return {};
}

}  // namespace quern
