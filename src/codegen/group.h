// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ir/program.h"
#include "schedule/rows.h"
#include "schedule/schedule.h"

/// What every skeleton's printer needs: names in generated code, and a group's tensors. See also
/// `inline_group` in `schedule/rows.h`.
namespace quern {

/// Identifiers in generated code; prefixes keep them clear of keywords and of the prelude.
std::string size_id(const std::string& size);      ///< s_<size>
std::string tensor_id(const std::string& tensor);  ///< t_<tensor>
std::string axis_id(const std::string& axis);      ///< a_<axis>

/// "float", "int64_t", …: as generated code spells the type.
std::string c_type(DType type);

/// Tensors the group reads and does not store itself, in the order of the program.
std::vector<std::string> group_reads(const ir::Program& program, const Group& group);
/// Statements the group must store (outputs, and what other groups read), in program order.
std::vector<std::string> group_writes(const ir::Program& program, const Group& group);
/// `static void group_N(…)` without the brace: see `codegen/contraction.h`.
std::string group_signature(const ir::Program& program, const Group& group, int group_number);

/// An integer expression as C++ over `s_` sizes and `a_` axes (gathers read `t_` tensors).
std::string c_int(const ir::Program& program, const ir::IntExpr& expr);
/// A row-major element offset as C++. With fewer indices than dimensions the last index counts
/// elements of the remaining dimensions taken as one.
std::string c_offset(const ir::Program& program, const std::vector<ir::IntExpr>& shape,
                     const std::vector<ir::IntExpr>& indices);
/// The offset of `tensor[indices]`.
std::string c_offset(const ir::Program& program, const std::string& tensor,
                     const std::vector<ir::IntExpr>& indices);
/// The offset as an expression.
ir::IntExpr flat_offset(const std::vector<ir::IntExpr>& shape,
                        const std::vector<ir::IntExpr>& indices);

}  // namespace quern
