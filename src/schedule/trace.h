// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
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

/// The whole number that an argument is; `fallback` where the step has none of that name.
int64_t integer(const Step& step, std::string_view name, int64_t fallback);

/// A plan is a trace of actions: it identifies the plan, prints, parses back, and replays to the
/// same source byte for byte. The empty trace is the naive lowering.
using Trace = std::vector<Step>;

std::string print(const Step& step);    ///< without a line end
std::string print(const Trace& trace);  ///< one step a line
Result<Trace> parse_trace(const std::string& text);

}  // namespace quern
