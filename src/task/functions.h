// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ir/expr.h"

namespace quern {

/// An operation of one operand, and of two.
ir::Expr unary(ir::Op op, ir::Expr a);
ir::Expr binary(ir::Op op, ir::Expr a, ir::Expr b);

/// A scalar function that stands for an expression: `relu(x)` for `max(x, 0)`. Parameters beyond
/// the first have a default where `defaults` names one (aligned to the end of `params`).
struct Shorthand {
  const char* name;
  std::vector<const char*> params;
  std::vector<double> defaults;
  ir::Expr (*expand)(const std::vector<ir::Expr>& args);
};

/// Null where there is no such shorthand.
const Shorthand* find_shorthand(const std::string& name);

/// Names of every scalar function, primitive or shorthand: what a misspelt one is compared with.
std::vector<std::string> function_names();

}  // namespace quern
