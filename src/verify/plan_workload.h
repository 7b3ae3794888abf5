// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ir/program.h"
#include "record/launch_plan.h"

namespace quern {

/// A task at some sizes, as launch plans see it.
PlanWorkload plan_workload(const ir::Program& program, const ir::Sizes& sizes);

}  // namespace quern
