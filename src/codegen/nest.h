// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "ir/program.h"
#include "schedule/schedule.h"

namespace quern {

/// Text of the C++ function that computes a nest group; convention: `codegen/contraction.h`. Works
/// for every statement of the language at every size.
Result<std::string> emit_nest_group(const ir::Program& program, const Group& group,
                                    int group_number);

}  // namespace quern
