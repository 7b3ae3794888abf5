// SPDX-License-Identifier: Apache-2.0
#include "ir/expr.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ir/program.h"

namespace quern::ir {
namespace {

TEST(IntExpr, FoldsConstantsAndNeutralElements) {
  IntExpr i = int_axis("i");
  EXPECT_EQ(int_constant(2) * int_constant(3) + int_constant(1), int_constant(7));
  EXPECT_EQ(i + int_constant(0), i);
  EXPECT_EQ(int_constant(1) * i, i);
  EXPECT_EQ(i * int_constant(0), int_constant(0));
  EXPECT_EQ(int_binary(IntExpr::Kind::kDiv, i, int_constant(1)), i);
}

TEST(IntExpr, DoesNotFoldWhatOverflowsOrDividesByZero) {
  IntExpr big = int_constant(INT64_MAX);
  EXPECT_EQ((big + int_constant(1)).kind, IntExpr::Kind::kAdd);
  EXPECT_EQ(int_binary(IntExpr::Kind::kDiv, big, int_constant(0)).kind, IntExpr::Kind::kDiv);
  EXPECT_EQ(evaluate(big + int_constant(1), {}), INT64_MAX);
}

TEST(IntExpr, DividesTowardsMinusInfinity) {
  EXPECT_EQ(floor_div(-1, 2), -1);
  EXPECT_EQ(floor_mod(-1, 2), 1);
  EXPECT_EQ(floor_div(7, -2), -4);
  EXPECT_EQ(floor_mod(7, -2), -1);
}

TEST(Print, PutsParenthesesOnlyWhereTheyMatter) {
  IntExpr i = int_axis("i"), j = int_axis("j");
  EXPECT_EQ(print((i + j) * int_constant(2) - (j - i)), "(i + j) * 2 - (j - i)");
  Expr x = load("x", {i}), y = load("y", {});
  EXPECT_EQ(print(apply(Op::kNeg, {apply(Op::kAdd, {x, y})})), "-(x[i] + y)");
  EXPECT_EQ(print(apply(Op::kNeg, {constant(2)})), "-(2)");
  EXPECT_EQ(print(apply(Op::kMul, {load_else("x", {i}, constant(-INFINITY)), y})),
            "(x[i] else -inf) * y");
}

TEST(Substitute, ReplacesAxesEverywhere) {
  Expr body = load("x", {int_axis("i") + int_axis("j")});
  EXPECT_EQ(print(substitute(body, {"i", "j"}, {int_axis("a"), int_constant(3)})), "x[a + 3]");
}

TEST(AffineForm, GathersCoefficientsOnceSizesAreKnown) {
  IntExpr expr = int_axis("i") * int_size("n") + int_constant(2) * int_axis("j") - int_axis("i");
  Affine form = affine_form(expr, {{"n", 5}});
  EXPECT_TRUE(form.affine);
  EXPECT_EQ(form.coefficient("i"), 4);
  EXPECT_EQ(form.coefficient("j"), 2);
  EXPECT_EQ(form.coefficient("k"), 0);
  EXPECT_FALSE(
      affine_form(int_binary(IntExpr::Kind::kDiv, int_axis("i"), int_constant(2)), {}).affine);
}

TEST(AxesOf, ListsEachAxisOnceInOrder) {
  Expr body =
      apply(Op::kAdd, {load("x", {int_axis("j"), int_axis("i")}), index_value(int_axis("j"))});
  EXPECT_EQ(axes_of(body), (std::vector<std::string>{"j", "i"}));
  EXPECT_TRUE(uses_axis(body, "i"));
  EXPECT_FALSE(uses_axis(body, "k"));
}

}  // namespace
}  // namespace quern::ir
