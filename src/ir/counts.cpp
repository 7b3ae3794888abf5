// SPDX-License-Identifier: Apache-2.0
#include "ir/counts.h"

namespace quern::ir {
double io_bytes(const Program& program, const Sizes& sizes) {
  auto bytes = [&](const std::string& tensor) {
    double count = static_cast<double>(dtype_bytes(program.type_of(tensor)));
    for (int64_t extent : shape_of(program, tensor, sizes)) count *= static_cast<double>(extent);
    return count;
  };
  double total = 0;
  for (const InputDecl& input : program.inputs) total += bytes(input.name);
  for (const Statement* output : program.outputs()) total += bytes(output->name);
  return total;
}
}  // namespace quern::ir
