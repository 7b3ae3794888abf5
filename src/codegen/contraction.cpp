// SPDX-License-Identifier: Apache-2.0
#include "codegen/contraction.h"

#include "codegen/nest.h"

namespace quern {

bool is_contraction(const ir::Program&, int) { return false; }

Result<std::string> emit_contraction_group(const ir::Program& program, const Group& group,
                                           int group_number) {
  return emit_nest_group(program, group, group_number);
}

}  // namespace quern
