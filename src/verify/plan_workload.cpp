// SPDX-License-Identifier: Apache-2.0
#include "verify/plan_workload.h"

namespace quern {

PlanWorkload plan_workload(const ir::Program& program, const ir::Sizes& sizes) {
  PlanWorkload workload;
  workload.sizes = sizes;
  for (const ir::InputDecl& input : program.inputs) {
    workload.inputs.push_back({input.name, input.type, ir::shape_of(program, input.name, sizes)});
  }
  for (const ir::Statement* output : program.outputs()) {
    workload.outputs.push_back(
        {output->name, output->type, ir::shape_of(program, output->name, sizes)});
  }
  return workload;
}

}  // namespace quern
