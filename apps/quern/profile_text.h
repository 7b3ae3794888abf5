// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "record/evaluation.h"
#include "record/evaluator.h"
#include "record/profile.h"

namespace quern::cli {

/// Where a time lies under the roof: the floor, what sets it, the rates that were reached.
std::string roofline_text(const Work& work, double median_ns);

/// Counters of one launch, and its largest stall with what it means; two or three lines.
std::string counters_text(const LaunchProfile& launch);

/// The one line of a profile that says most: the busiest unit, and the largest stall.
std::string profile_line(const Profile& profile);

}  // namespace quern::cli
