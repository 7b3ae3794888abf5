// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "ir/program.h"

namespace quern::ir {

/// What is wrong with a program, and where: `statement` is an index, or -1 where the fault is in a
/// declaration; `tensor` is the tensor the fault is about, if any.
struct Fault {
  int statement = -1;
  std::string tensor;
  std::string message;
  std::string hint;
};

/// Finds what does not depend on sizes: names defined before use (but for recurrences, see
/// ir/recurrence.h) and once, no unused name or axis, at least one output, types (conditions
/// against values, integers where a gather needs them), number of indices, arg-forms over one axis.
std::optional<Fault> find_fault(const Program& program);

/// Finds what is wrong at concrete sizes: an extent that is not positive, an access that leaves
/// its tensor somewhere in the domain (under the guards of enclosing `select`s; loads with `else`
/// may leave it), byte counts that do not fit an int64. `size_set` is only for the message.
std::optional<Fault> find_size_fault(const Program& program, const Sizes& sizes,
                                     const std::string& size_set = "");

/// `find_fault` as an error that names the statement.
Result<void> check(const Program& program);

/// `find_size_fault` as an error; says which access, which index, and its range.
Result<void> check_sizes(const Program& program, const Sizes& sizes);

}  // namespace quern::ir
