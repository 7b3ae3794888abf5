// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "codegen/device_text.h"
#include "ir/program.h"
#include "schedule/schedule.h"

namespace quern {

/// Whether the group is one f32 map with a load that walks memory along another axis than the
/// result does: the last index of the load is an axis that is not the statement's last.
bool transposes(const ir::Program& program, const Group& group);

/// The kernel of such a group: tiles of 32 by 32 of that load pass through local memory, so that
/// both sides are walked along rows. Error: kInput where the group is none.
Result<void> emit_device_transpose(const ir::Program& program, const Group& group, int number,
                                   DeviceProgram* made);

}  // namespace quern
