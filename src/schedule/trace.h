// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace quern {

/// One action with its arguments, in canonical order: `vectorize(y, axis=j, width=16)` has action
/// "vectorize", target "y" (the statement it acts on) and the named arguments as text.
struct Step {
  std::string action;
  std::string target;
  std::vector<std::pair<std::string, std::string>> args;
  bool operator==(const Step&) const = default;

  const std::string* find(const std::string& name) const;
};

/// A plan is a trace of actions: it identifies the plan, prints, parses back, and replays to the
/// same source byte for byte. The empty trace is the naive lowering.
using Trace = std::vector<Step>;

std::string print(const Step& step);    ///< without a line end
std::string print(const Trace& trace);  ///< one step a line
Result<Trace> parse_trace(const std::string& text);

}  // namespace quern
