// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ir/program.h"

namespace quern::ir {

/// Checks what does not depend on sizes: names defined before use and once, no unused tensor or
/// axis, at least one output, types (conditions against values, integers where a gather needs
/// them), number of indices, arg-forms over one axis. Errors name the statement.
Result<void> check(const Program& program);

/// Checks the program at concrete sizes: every extent positive, every access inside its tensor
/// over the whole domain (under the guards of enclosing `select`s; loads with `else` may leave it),
/// byte counts that fit an int64. Errors say which access, which index, and its range.
Result<void> check_sizes(const Program& program, const Sizes& sizes);

}  // namespace quern::ir
