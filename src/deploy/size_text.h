// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ir/program.h"

namespace quern {

/// A name that neither Python nor C++ keeps for itself: `in` becomes `in_`.
std::string safe_name(const std::string& name);

enum class SizeLanguage { kPython, kCpp };

/// An expression over sizes as Python or C++ writes it, values alike; C++ uses `quern_floor_div`
/// and `quern_floor_mod`, `std::min` and `std::max` on `std::int64_t`. No axes, no gathers.
std::string size_text(const ir::IntExpr& expr, SizeLanguage language);

/// "(a, b)" of a shape: a Python tuple ("(a,)" for one extent, "()" for none), or the inside of a
/// C++ initialiser list ("a, b").
std::string shape_text(const std::vector<ir::IntExpr>& shape, SizeLanguage language);

}  // namespace quern
