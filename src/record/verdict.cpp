// SPDX-License-Identifier: Apache-2.0
#include "record/verdict.h"

#include <array>
#include <type_traits>

namespace quern {

std::string_view verdict_name(const Verdict& verdict) {
  static constexpr std::array<std::string_view, 7> kNames = {
      "compile_failed", "launch_failed", "crashed", "timed_out",
      "wrong_result",   "rejected",      "passed"};
  static_assert(kNames.size() == std::variant_size_v<Verdict>);
  return kNames[verdict.index()];
}

std::string verdict_reason(const Verdict& verdict) {
  return std::visit(
      [](const auto& v) -> std::string {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, Passed>) {
          return "";
        } else {
          return v.reason;
        }
      },
      verdict);
}

std::string verdict_evidence(const Verdict& verdict) {
  return std::visit(
      [](const auto& v) -> std::string {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, Passed>) {
          return "";
        } else {
          return v.evidence;
        }
      },
      verdict);
}

const Timing* timing_of(const Verdict& verdict) {
  const Passed* passed = std::get_if<Passed>(&verdict);
  return passed ? &passed->timing : nullptr;
}

}  // namespace quern
