// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace quern {

/// One `// quern: …` comment line at the head of a source.
struct PlanLine {
  int number = 0;        ///< of the line, from 1
  std::string text;      ///< what follows `quern:`, without white space at its ends
  bool goes_on = false;  ///< indented by two spaces or more: belongs to the line before
};

/// The plan lines of a source, in order. The head ends at the first line that is neither blank nor
/// a `//` comment; other comments in it are left alone.
std::vector<PlanLine> plan_lines(const std::string& source);

}  // namespace quern
