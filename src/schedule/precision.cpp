// SPDX-License-Identifier: Apache-2.0
#include "schedule/precision.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern {
namespace {

/// How many products in TF32 stand for one of a contraction; 0: ordinary units.
Reason set_products(ScheduleState* state, int target, int64_t products) {
  Group& group = owner_group(*state, target);
  if (group.skeleton != Skeleton::kContraction) return "its group is not tensorized; do that first";
  group.params["tf32"] = products;
  return "";
}

/// The operation at the head of a term, past selections of it.
const ir::Expr& head_of(const ir::Expr& body) {
  const bool guarded = body.kind == ir::Expr::Kind::kOp && body.op == ir::Op::kSelect;
  return guarded ? head_of(body.args[1]) : body;
}

/// Whether some index of `operand` moves with the terms and with a result axis that `other` does
/// not know.
bool slides(const ir::Expr& operand, const ir::Expr& other, const ir::Statement& statement) {
  const auto moves = [&](const ir::IntExpr& index) {
    const auto used = [&](const ir::Axis& axis) { return ir::uses_axis(index, axis.name); };
    return std::ranges::any_of(statement.reduce_axes, used) &&
           std::ranges::any_of(statement.axes, [&](const ir::Axis& axis) {
             return used(axis) && !ir::uses_axis(other, axis.name);
           });
  };
  return std::ranges::any_of(ir::loads_of(operand), [&](const ir::Expr* load) {
    return std::ranges::any_of(load->indices, moves);
  });
}

}  // namespace

Contract contract_on(const ir::Program& program, ScheduleTarget target) {
  const bool may = program.precision == "as_reference" && target == ScheduleTarget::kCuda;
  return may && std::ranges::any_of(program.statements, convolves) ? Contract::kTf32Convolutions
                                                                   : Contract::kFp32;
}

bool sums_products(const ir::Statement& statement) {
  if (statement.kind != ir::Statement::Kind::kReduce || statement.monoid != ir::Monoid::kSum) {
    return false;
  }
  const ir::Expr& head = head_of(statement.body);
  return head.kind == ir::Expr::Kind::kOp && head.op == ir::Op::kMul &&
         !ir::loads_of(head.args[0]).empty() && !ir::loads_of(head.args[1]).empty();
}

bool convolves(const ir::Statement& statement) {
  if (!sums_products(statement) || statement.type != DType::kF32) return false;
  const ir::Expr& head = head_of(statement.body);
  const ir::Expr &a = head.args[0], &b = head.args[1];
  return slides(a, b, statement) || slides(b, a, statement);
}

bool rounds_operands(const ir::Program& program, const std::string& statement, Contract contract) {
  const ir::Statement* found = program.find_statement(statement);
  return contract == Contract::kTf32Convolutions && found != nullptr && convolves(*found);
}

Reason set_precision(ScheduleState* state, int target, const Step& step) {
  const std::string* type = step.find("type");
  if (type != nullptr && *type != "tf32") return "a narrower type is `tf32`";
  if (state->program.precision != "as_reference") {
    return fmt::format("the contract of the task is {}", state->program.precision);
  }
  if (!convolves(state->statement(target))) return "it is no convolution";
  return set_products(state, target, 1);
}

Reason emulate_precision(ScheduleState* state, int target, const Step& step) {
  const std::string* method = step.find("method");
  if (method != nullptr && *method != "tf32x3") return "a method is `tf32x3`";
  Reason reason = set_products(state, target, 3);
  if (reason.empty()) owner_group(*state, target).params["terms"] = integer(step, "terms", 8);
  return reason;
}

}  // namespace quern
