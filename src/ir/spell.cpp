// SPDX-License-Identifier: Apache-2.0
#include "ir/spell.h"

#include <fmt/format.h>

#include "base/check.h"

namespace quern::ir {

std::string spell(IntExpr::Kind kind, const IntSpelling& language, const std::string& a,
                  const std::string& b) {
  using Kind = IntExpr::Kind;
  const auto written = [&](const char* pattern) {
    return fmt::format(fmt::runtime(pattern), a, b);
  };
  switch (kind) {
    case Kind::kAdd:
      return written("({} + {})");
    case Kind::kSub:
      return written("({} - {})");
    case Kind::kMul:
      return written("({} * {})");
    case Kind::kDiv:
      return written(language.div);
    case Kind::kMod:
      return written(language.mod);
    case Kind::kMin:
      return written(language.min);
    case Kind::kMax:
      return written(language.max);
    case Kind::kConstant:
    case Kind::kSize:
    case Kind::kAxis:
    case Kind::kGather:
      break;
  }
  QUERN_CHECK(false, "an operation has two operands");
  return "";
}

}  // namespace quern::ir
