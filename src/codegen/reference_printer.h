// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ir/program.h"

/// The loops of a naive lowering, over a scalar type that the source around them calls `T`. What
/// they call (`fetch`, `constant`, `op_exp`, `SumAccumulator`, `Buffer`, …) is that source's too.
namespace quern {

// Names of a task may be C++ keywords or ours, so every kind of name has its own prefix.
std::string tensor_name(const std::string& name);
std::string size_name(const std::string& name);

/// The inside of a function that has the sizes, inputs and outputs at hand: derived sizes,
/// intermediates, then every statement in order. `oracle`: over scalars that carry their error,
/// not plain f32.
std::string reference_body(const ir::Program& program, bool oracle);

/// A function `count_t_NAME` of the free sizes, declared by `parameters`, that gives the number of
/// elements of an output.
std::string reference_count(const ir::Program& program, const ir::Statement& output,
                            const std::string& parameters);

/// Parts of the body: an index expression, a row-major offset, a value or condition, and the type
/// of a statement's accumulator.
std::string reference_index(const ir::Program& program, const ir::IntExpr& expr);
std::string reference_offset(const ir::Program& program, const std::string& tensor,
                             const std::vector<ir::IntExpr>& indices);
std::string reference_value(const ir::Program& program, const ir::Expr& expr, bool oracle);
std::string reference_accumulator(const ir::Statement& statement);
/// The variable of an axis.
std::string axis_name(const std::string& name);

}  // namespace quern
