// SPDX-License-Identifier: Apache-2.0
#include "codegen/window.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

using ir::int_axis;
using ir::int_constant;
using ir::int_size;

/// y[i, j] = max[a, b] x[i + a, j * step + b * dilation] over windows of 2 by 4.
ir::Program windows(int64_t step, int64_t dilation = 1) {
  ir::Program program;
  program.name = "windows";
  program.inputs.push_back({"x", DType::kF32, {int_size("h"), int_size("w")}, {}, {}});
  ir::Statement y;
  y.name = "y";
  y.kind = ir::Statement::Kind::kReduce;
  y.monoid = ir::Monoid::kMax;
  y.axes = {{"i", int_size("p")}, {"j", int_size("q")}};
  y.reduce_axes = {{"a", int_constant(2)}, {"b", int_constant(4)}};
  y.body =
      ir::load("x", {int_axis("i") + int_axis("a"),
                     int_axis("j") * int_constant(step) + int_axis("b") * int_constant(dilation)});
  y.is_output = true;
  program.statements.push_back(y);
  return program;
}

TEST(Window, AWindowIsReducedDownwardsAndThenAlongARow) {
  const ir::Program program = windows(3);
  const auto split = split_window(program, program.statements);
  ASSERT_TRUE(split.has_value());
  ASSERT_EQ(split->statements.size(), 2u);
  const ir::Statement& row = split->statements[0];
  EXPECT_EQ(row.reduce_axes[0].name, "a");
  EXPECT_EQ(split->statements[1].reduce_axes[0].name, "b");
  EXPECT_EQ(split->statements[1].body.name, row.name);
  // Ten windows of four that are three apart touch 9 * 3 + 4 elements.
  EXPECT_EQ(ir::evaluate(row.axes.back().extent, {{"q", 10}}), 31);
}

TEST(Window, WindowsWithGapsBetweenThemStayWhole) {
  const ir::Program program = windows(5);
  EXPECT_FALSE(split_window(program, program.statements).has_value());
}

TEST(Window, DilatedWindowsOneApartAreSplit) {
  const ir::Program program = windows(1, 3);
  const auto split = split_window(program, program.statements);
  ASSERT_TRUE(split.has_value());
  // Ten windows whose four taps span ten elements.
  EXPECT_EQ(ir::evaluate(split->statements[0].axes.back().extent, {{"q", 10}}), 19);
  const ir::Program apart = windows(2, 3);
  EXPECT_FALSE(split_window(apart, apart.statements).has_value());
}

TEST(Window, TheFirstPlaceOfAMaximumIsNotFoundByHalves) {
  ir::Program program = windows(1);
  program.statements[0].monoid = ir::Monoid::kArgMax;
  EXPECT_FALSE(split_window(program, program.statements).has_value());
}

}  // namespace
}  // namespace quern
