// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ir/program.h"

namespace quern {

/// Names of tasks: those of tasks/, and `own:` ones written here for what no shipped task uses.
std::vector<std::string> starter_tasks();
ir::Program starter_task(const std::string& name);

/// `-DQUERN_SIZE_…` of a size set.
std::vector<std::string> size_options(const ir::Program& program, const std::string& set);

}  // namespace quern
