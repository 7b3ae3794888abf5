// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ir/program.h"
#include "schedule/schedule.h"

/// Programs for the tests of the contraction printers, written with a few short builders.
namespace quern {

struct ContractionCase {
  std::string name;
  ir::Program program;
  Group group;
  std::vector<std::map<std::string, int64_t>> sizes;  ///< free sizes of every run
};

/// One of each family: transposes, batches, windows, groups, transposed windows, many axes.
std::vector<ContractionCase> contraction_cases();

namespace cases {

inline ir::IntExpr A(const char* axis) { return ir::int_axis(axis); }
inline ir::IntExpr S(const char* size) { return ir::int_size(size); }
inline ir::IntExpr C(int64_t value) { return ir::int_constant(value); }
ir::IntExpr div(ir::IntExpr a, ir::IntExpr b);
ir::IntExpr mod(ir::IntExpr a, ir::IntExpr b);
ir::Expr L(const char* tensor, std::vector<ir::IntExpr> indices);
ir::Expr padded(const char* tensor, std::vector<ir::IntExpr> indices);
ir::Expr operator*(ir::Expr a, ir::Expr b);
ir::Expr operator+(ir::Expr a, ir::Expr b);
ir::Expr operator-(ir::Expr a, ir::Expr b);
ir::Expr op(ir::Op op, std::vector<ir::Expr> args);
using Axes = std::vector<std::pair<const char*, ir::IntExpr>>;
ir::Statement sum(const char* name, const Axes& axes, const Axes& reduce, ir::Expr body);
ir::Statement map(const char* name, const Axes& axes, ir::Expr body);
/// The last statement is the output. A size "x = 3" is derived by `lets`.
ir::Program program(const std::vector<const char*>& sizes,
                    const std::vector<std::pair<const char*, std::vector<ir::IntExpr>>>& inputs,
                    std::vector<ir::Statement> statements,
                    const std::vector<std::pair<const char*, ir::IntExpr>>& lets = {});

}  // namespace cases
}  // namespace quern
