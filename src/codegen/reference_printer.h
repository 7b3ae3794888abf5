// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ir/program.h"
#include "schedule/precision.h"

/// The loops of a naive lowering, over a scalar type that the source around them calls `T`. What
/// they call (`fetch`, `constant`, `op_exp`, `SumAccumulator`, `Buffer`, …) is that source's too.
namespace quern {

// Names of a task may be C++ keywords or ours, so every kind of name has its own prefix.
std::string tensor_name(const std::string& name);
std::string size_name(const std::string& name);

/// The inside of a function that has the sizes, inputs and outputs at hand: derived sizes,
/// intermediates, then every statement in order. `oracle`: over scalars that carry their error,
/// not plain f32; `contract`: what they let convolutions round.
std::string reference_body(const ir::Program& program, bool oracle,
                           Contract contract = Contract::kFp32);

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
/// The value of an oracle's sum whose operands may be rounded (`rounds_operands`), and its type of
/// accumulator.
std::string reference_rounded_term(const ir::Program& program, const ir::Expr& body);
inline constexpr const char* kRoundedAccumulator = "ConvolutionAccumulator<T>";
/// The variable of an axis.
std::string axis_name(const std::string& name);

}  // namespace quern
