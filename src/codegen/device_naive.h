// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "codegen/device_text.h"
#include "ir/program.h"

namespace quern {

/// The naive lowering for a device: every statement its own launch, one thread for each element of
/// its tensor (each line of a scan), intermediates in scratch memory; a recurrence is one launch
/// (codegen/device_recurrence.h). The baseline called `naive`;
/// a complete candidate source, correct for all sizes.
DeviceProgram naive_device_program(const ir::Program& program);
std::string emit_device_naive(const ir::Program& program, DeviceLanguage language);

}  // namespace quern
