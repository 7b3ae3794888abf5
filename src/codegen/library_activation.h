// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "ir/expr.h"

/// Functions of one variable that oneDNN has, told from their values.
namespace quern {

/// An activation by its oneDNN name ("relu"), with that library's parameters.
struct Activation {
  const char* name;
  double alpha, beta;
};
double activation_value(const Activation& activation, double x);
/// The activation that `f` is, told from its values; nothing where `f` has none.
std::optional<Activation> match_function(const std::function<std::optional<double>(double)>& f);
/// The function of one variable that `body` is of `tensor` (read at one place), told from its
/// values; nothing where it is none that the library has.
std::optional<Activation> match_activation(const ir::Expr& body, const std::string& tensor);

}  // namespace quern
