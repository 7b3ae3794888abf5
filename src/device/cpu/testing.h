// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "record/verdict.h"

namespace quern {

/// What went wrong with an outcome, for messages of failed tests; "" when nothing did.
template <class T>
std::string trouble(const Outcome<T>& outcome) {
  if (outcome.has_error()) return "error: " + outcome.error().message;
  if (!outcome.has_verdict()) return "";
  return std::visit(
      [](const auto& verdict) -> std::string {
        if constexpr (requires { verdict.evidence; }) {
          return verdict.reason + "\n" + verdict.evidence;
        }
        return "";
      },
      outcome.verdict());
}

}  // namespace quern
