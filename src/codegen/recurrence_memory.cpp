// SPDX-License-Identifier: Apache-2.0
#include "codegen/recurrence_memory.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern {

using ir::Axis;
using ir::Expr;
using ir::IntExpr;
using ir::Statement;

namespace {

constexpr int64_t kMostSlots = 16;

bool whole_axis(const Statement& reader, const IntExpr& index, const Axis& of) {
  for (const auto* axes : {&reader.axes, &reader.reduce_axes}) {
    for (const Axis& axis : *axes) {
      if (index == ir::int_axis(axis.name) && axis.extent == of.extent) return true;
    }
  }
  return false;
}

}  // namespace

RecurrenceMemory::RecurrenceMemory(const ir::Program& program, const ir::Recurrence& recurrence,
                                   const std::vector<std::string>& stored)
    : program_(program), recurrence_(recurrence) {
  for (int s = recurrence.first; s <= recurrence.last; ++s) {
    const std::string& name = program.statements[static_cast<size_t>(s)].name;
    const bool whole = std::ranges::find(stored, name) != stored.end();
    if (!whole && may_cycle(s)) cycled_.push_back(name);
  }
}

std::string RecurrenceMemory::slot(int64_t back) { return fmt::format("0s{}", back); }

bool RecurrenceMemory::is_cycled(const std::string& tensor) const {
  return std::ranges::find(cycled_, tensor) != cycled_.end();
}

size_t RecurrenceMemory::step_place(const std::string& tensor) const {
  return static_cast<size_t>(recurrence_.position(program_.statement_index(tensor)));
}

/// Every read with an `else` leaves the tensor along the steps alone.
bool RecurrenceMemory::may_cycle(int statement) const {
  if (slots() > kMostSlots) return false;
  const Statement& made = program_.statements[static_cast<size_t>(statement)];
  const auto place = static_cast<size_t>(recurrence_.position(statement));
  for (int s = recurrence_.first; s <= recurrence_.last; ++s) {
    const Statement& reader = program_.statements[static_cast<size_t>(s)];
    for (const Expr* load : ir::loads_of(reader.body)) {
      if (load->name != made.name || load->args.empty()) continue;
      for (size_t d = 0; d < load->indices.size(); ++d) {
        if (d != place && !whole_axis(reader, load->indices[d], made.axes[d])) return false;
      }
    }
  }
  return true;
}

Expr RecurrenceMemory::guarded(const Expr& in) const {
  Expr out = in;
  for (Expr& arg : out.args) arg = guarded(arg);
  if (out.kind != Expr::Kind::kLoad || out.args.empty() || !is_cycled(out.name)) return out;
  const size_t place = step_place(out.name);
  const Expr step = ir::index_value(out.indices[place]);
  Expr inside =
      recurrence_.backwards
          ? ir::apply(ir::Op::kLt, {step, ir::index_value(program_.shape_of(out.name)[place])})
          : ir::apply(ir::Op::kGe, {step, ir::constant(0)});
  Expr otherwise = std::move(out.args[0]);
  out.args.clear();
  return ir::apply(ir::Op::kSelect, {std::move(inside), std::move(out), std::move(otherwise)});
}

std::vector<IntExpr> RecurrenceMemory::shape(const std::string& tensor) const {
  std::vector<IntExpr> shape = program_.shape_of(tensor);
  if (is_cycled(tensor)) shape[step_place(tensor)] = ir::int_constant(slots());
  return shape;
}

std::vector<IntExpr> RecurrenceMemory::indices(const std::string& tensor,
                                               std::vector<IntExpr> indices) const {
  if (!is_cycled(tensor)) return indices;
  IntExpr& step = indices[step_place(tensor)];
  const int64_t offset = ir::offset_along(step, recurrence_.axis).value_or(0);
  step = ir::int_axis(slot(offset < 0 ? -offset : offset));
  return indices;
}

}  // namespace quern
