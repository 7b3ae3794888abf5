// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "ir/program.h"

namespace quern {

/// Parses a task file (docs/task_format.md), expands named operators into the statements that are
/// their meaning, and checks the program (`ir::check`, and `ir::check_sizes` for every size set
/// whose check is cheap). `file` is only for messages, which read
/// `softmax.task:4:9: error: …`, then the line, a caret, and a hint.
Result<ir::Program> parse_task(std::string_view text, const std::string& file);

/// Reads and parses a file. Errors: missing, a directory, binary, empty, larger than 1 MiB.
Result<ir::Program> load_task(const std::string& path);

/// Canonical text: parsing it gives an equal program.
std::string print_task(const ir::Program& program);

}  // namespace quern
