// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ir/program.h"
#include "schedule/schedule.h"

namespace quern {

/// Text of the C++ function that computes the statements of a recurrence; convention:
/// `codegen/contraction.h`; it needs quern_recurrence.h. One team of threads goes through all
/// steps. Within a step the statements are shared by points, and threads meet where one reads
/// points that another made. Sums over products with a factor that is the same at all steps have
/// that factor packed once.
std::string emit_recurrence_group(const ir::Program& program, const Group& group, int group_number);

}  // namespace quern
