// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ir/expr.h"

namespace quern::ir {

/// How a language writes the operations on integers that languages spell differently: patterns with
/// {0} and {1}, or {} and {}, for the operands.
struct IntSpelling {
  const char *div, *mod, *min, *max;
};

/// An operation on two operands that are written already; `kind` is one of two operands.
std::string spell(IntExpr::Kind kind, const IntSpelling& language, const std::string& a,
                  const std::string& b);

}  // namespace quern::ir
