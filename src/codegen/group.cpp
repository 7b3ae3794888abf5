// SPDX-License-Identifier: Apache-2.0
#include "codegen/group.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/spell.h"

namespace quern {
namespace {

using ir::IntExpr;
using ir::Program;
using ir::Statement;

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool member(const std::vector<int>& list, int value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

/// Whether statement `index` is computed in this group and nowhere else: an inlined one is where
/// all its readers are.
bool only_inside(const Program& program, const Group& group, int index) {
  if (!member(group.statements, index)) return false;
  if (!member(group.inlined, index)) return true;
  const std::string& name = program.statements[static_cast<size_t>(index)].name;
  for (size_t reader = 0; reader < program.statements.size(); ++reader) {
    if (contains(ir::tensors_of(program.statements[reader].body), name) &&
        !only_inside(program, group, static_cast<int>(reader))) {
      return false;
    }
  }
  return true;
}

}  // namespace

std::string size_id(const std::string& size) { return "s_" + size; }
std::string tensor_id(const std::string& tensor) { return "t_" + tensor; }
std::string axis_id(const std::string& axis) { return "a_" + axis; }

std::string c_type(DType type) {
  if (type == DType::kI64) return "int64_t";
  if (type == DType::kI32) return "int32_t";
  return std::string(dtype_c_name(type));
}

std::vector<std::string> group_reads(const Program& program, const Group& group) {
  const std::vector<Statement> statements = inline_group(program, group);
  std::vector<std::string> used;
  std::vector<std::string> made;
  for (const Statement& statement : statements) {
    for (std::string& name : ir::tensors_of(statement.body)) used.push_back(std::move(name));
    made.push_back(statement.name);
  }
  std::vector<std::string> reads;
  for (const ir::InputDecl& input : program.inputs) {
    if (contains(used, input.name)) reads.push_back(input.name);
  }
  for (const Statement& statement : program.statements) {
    if (contains(used, statement.name) && !contains(made, statement.name)) {
      reads.push_back(statement.name);
    }
  }
  return reads;
}

std::vector<std::string> group_writes(const Program& program, const Group& group) {
  std::vector<std::string> writes;
  for (int index : group.statements) {
    if (member(group.inlined, index)) continue;
    const Statement& statement = program.statements[static_cast<size_t>(index)];
    bool stored = statement.is_output;
    for (size_t other = 0; other < program.statements.size() && !stored; ++other) {
      const bool inside = only_inside(program, group, static_cast<int>(other));
      stored = !inside && contains(ir::tensors_of(program.statements[other].body), statement.name);
    }
    if (stored) writes.push_back(statement.name);
  }
  return writes;
}

std::string group_signature(const Program& program, const Group& group, int group_number) {
  std::vector<std::string> params;
  for (const std::string& size : program.free_sizes()) params.push_back("int64_t z_" + size);
  for (const std::string& name : group_reads(program, group)) {
    params.push_back(
        fmt::format("const {}* __restrict {}", c_type(program.type_of(name)), tensor_id(name)));
  }
  for (const std::string& name : group_writes(program, group)) {
    params.push_back(
        fmt::format("{}* __restrict {}", c_type(program.type_of(name)), tensor_id(name)));
  }
  return fmt::format("static void group_{}({})", group_number, fmt::join(params, ", "));
}

std::string c_int(const Program& program, const IntExpr& expr) {
  using Kind = IntExpr::Kind;
  switch (expr.kind) {
    case Kind::kConstant:
      return fmt::format("int64_t{{{}}}", expr.value);
    case Kind::kSize:
      return size_id(expr.name);
    case Kind::kAxis:
      return axis_id(expr.name);
    case Kind::kGather:
      return fmt::format("static_cast<int64_t>({}[{}])", tensor_id(expr.name),
                         c_offset(program, program.shape_of(expr.name), expr.args));
    default:
      static constexpr ir::IntSpelling kCpp = {"q_floordiv({}, {})", "q_mod({}, {})",
                                               "q_imin({}, {})", "q_imax({}, {})"};
      return ir::spell(expr.kind, kCpp, c_int(program, expr.args[0]), c_int(program, expr.args[1]));
  }
}

IntExpr flat_offset(const std::vector<IntExpr>& shape, const std::vector<IntExpr>& indices) {
  if (indices.empty()) return ir::int_constant(0);
  IntExpr offset = indices[0];
  for (size_t d = 1; d < indices.size(); ++d) {
    IntExpr extent = shape[d];
    if (d + 1 == indices.size()) {
      for (size_t rest = d + 1; rest < shape.size(); ++rest)
        extent = std::move(extent) * shape[rest];
    }
    offset = std::move(offset) * std::move(extent) + indices[d];
  }
  return offset;
}

std::string c_offset(const Program& program, const std::vector<IntExpr>& shape,
                     const std::vector<IntExpr>& indices) {
  return c_int(program, flat_offset(shape, indices));
}

std::string c_offset(const Program& program, const std::string& tensor,
                     const std::vector<IntExpr>& indices) {
  return c_offset(program, program.shape_of(tensor), indices);
}

}  // namespace quern
