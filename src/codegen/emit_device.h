// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "codegen/device_text.h"
#include "schedule/schedule.h"

namespace quern {

/// Launches of a scheduled program. Tuned for `sizes`, correct for all. Errors: parameters that do
/// not fit the program, f64 in a contraction.
Result<DeviceProgram> make_device_program(const ir::Program& program, const Schedule& schedule,
                                          const ir::Sizes& sizes, DeviceLanguage language);

/// The same as one candidate source: plan lines, the trace as comments, kernels. Deterministic:
/// equal inputs give equal bytes.
Result<std::string> emit_device(const ir::Program& program, const Schedule& schedule,
                                const ir::Sizes& sizes, DeviceLanguage language);

}  // namespace quern
