// SPDX-License-Identifier: Apache-2.0
#include "codegen/emit_device.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/contraction.h"
#include "codegen/device_recurrence.h"
#include "codegen/device_reduce.h"
#include "codegen/device_row.h"
#include "codegen/device_tile.h"
#include "codegen/device_transpose.h"
#include "codegen/device_window.h"
#include "codegen/group.h"

namespace quern {

using ir::Program;

namespace {

bool contraction_group(const Program& program, const Group& group) {
  return group.skeleton == Skeleton::kContraction && group.root >= 0 &&
         is_contraction(program, group.root);
}

}  // namespace

Result<DeviceProgram> make_device_program(const Program& program, const Schedule& schedule,
                                          const ir::Sizes& sizes, DeviceLanguage language) {
  DeviceProgram made;
  for (const Step& step : schedule.trace) made.remarks.push_back("  " + print(step));
  for (size_t g = 0; g < schedule.groups.size(); ++g) {
    const Group& group = schedule.groups[g];
    const int number = static_cast<int>(g);
    if (group.skeleton == Skeleton::kRecurrence) {
      const std::vector<ir::Recurrence> loops = ir::recurrences(program);
      const ir::Recurrence* loop = ir::recurrence_of(loops, group.statements.front());
      made.kernels.push_back(recurrence_kernel(program, *loop, number, &sizes));
      for (const int s : group.statements) {
        const ir::Statement& statement = program.statements[static_cast<size_t>(s)];
        if (!statement.is_output) made.scratch.push_back(scratch_of(program, statement));
      }
      continue;
    }
    for (const std::string& name : group_writes(program, group)) {
      const ir::Statement& statement = *program.find_statement(name);
      if (!statement.is_output) made.scratch.push_back(scratch_of(program, statement));
    }
    if (contraction_group(program, group)) {
      QUERN_TRY(emit_device_tiles(program, group, number, sizes, language, &made));
    } else if (group.param("register_transpose", 0) != 0) {
      QUERN_TRY(emit_device_transpose(program, group, number, &made));
    } else if (group.param("window", 0) != 0) {
      QUERN_TRY(emit_device_window(program, group, number, &made));
    } else {
      QUERN_TRY(emit_device_rows(program, group, number, sizes, &made));
    }
  }
  return made;
}

Result<std::string> emit_device(const Program& program, const Schedule& schedule,
                                const ir::Sizes& sizes, DeviceLanguage language) {
  QUERN_ASSIGN(DeviceProgram made, make_device_program(program, schedule, sizes, language));
  return device_source(program, language, made);
}

}  // namespace quern
