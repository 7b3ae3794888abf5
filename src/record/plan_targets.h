// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "record/launch_plan.h"

namespace quern {

/// Whether a plan uses what only one of the two kinds of device has, and is meant for the other.
/// Errors: kInput with the line.
Result<void> check_plan_targets(const LaunchPlan& plan);

}  // namespace quern
