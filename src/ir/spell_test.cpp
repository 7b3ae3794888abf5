// SPDX-License-Identifier: Apache-2.0
#include "ir/spell.h"

#include <gtest/gtest.h>

namespace quern::ir {
namespace {

TEST(Spell, WritesOperationsAsTheLanguageHasThem) {
  using Kind = IntExpr::Kind;
  constexpr IntSpelling kPython = {"({} // {})", "({} % {})", "min({}, {})",
                                   "({0} if {0} > {1} else {1})"};
  EXPECT_EQ(spell(Kind::kAdd, kPython, "n", "(m - 1)"), "(n + (m - 1))");
  EXPECT_EQ(spell(Kind::kSub, kPython, "n", "1"), "(n - 1)");
  EXPECT_EQ(spell(Kind::kMul, kPython, "n", "2"), "(n * 2)");
  EXPECT_EQ(spell(Kind::kDiv, kPython, "n", "2"), "(n // 2)");
  EXPECT_EQ(spell(Kind::kMod, kPython, "n", "2"), "(n % 2)");
  EXPECT_EQ(spell(Kind::kMin, kPython, "n", "m"), "min(n, m)");
  EXPECT_EQ(spell(Kind::kMax, kPython, "n", "m"), "(n if n > m else m)");
}

}  // namespace
}  // namespace quern::ir
