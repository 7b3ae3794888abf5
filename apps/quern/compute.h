// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "context.h"

namespace quern::cli {

/// Where `tasks --compute` reads and writes: raw float64, tensors one after another in the order of
/// the task, row-major.
struct ComputeFiles {
  std::string inputs, outputs;
};

/// What a task means on given inputs, in double precision: by the interpreter, or where that would
/// take long by the compiled oracle. Inputs are rounded to their element types first. Errors: a
/// file of the wrong length (says what is expected).
Result<void> compute_task(const Context& context, const std::string& name, const std::string& size,
                          const ComputeFiles& files);

}  // namespace quern::cli
