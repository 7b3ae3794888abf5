// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "schedule/schedule.h"

namespace quern {

/// Prints a scheduled program as one C++ candidate: plan lines, the trace as comments, and an
/// `extern "C"` entry named after the task. Correct for all sizes, given at run time;
/// deterministic: equal inputs give equal bytes.
Result<std::string> emit_cpu(const ir::Program& program, const Schedule& schedule);

}  // namespace quern
