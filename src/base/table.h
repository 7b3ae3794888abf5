// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/suggest.h"

namespace quern {

/// The row of a table whose `name` this is. `what` says what the rows are ("score"). Errors:
/// kInput, unknown, with a suggestion.
template <class Row>
Result<const Row*> find_row(std::span<const Row> rows, const std::string& what,
                            const std::string& name) {
  std::vector<std::string> known;
  for (const Row& row : rows) {
    if (name == row.name) return &row;
    known.emplace_back(row.name);
  }
  return Error{ErrorKind::kInput, "unknown " + what + " '" + name + "'", suggest(name, known)};
}

}  // namespace quern
