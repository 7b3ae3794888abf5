// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_reduce.h"

#include <fmt/format.h>

namespace quern {

using ir::Monoid;

std::string monoid_suffix(Monoid monoid) {
  switch (monoid) {
    case Monoid::kSum:
      return "sum";
    case Monoid::kProd:
      return "prod";
    case Monoid::kMax:
    case Monoid::kArgMax:
      return "max";
    case Monoid::kMin:
    case Monoid::kArgMin:
      return "min";
  }
  return "sum";
}

Reducer::Reducer(const ir::Program& program, const ir::Statement& statement, std::string name,
                 int count)
    : monoid_(statement.monoid),
      // Positions are whole numbers, but the values compared are those of the body.
      wide_(computed_wide(program, statement)),
      name_(std::move(name)),
      count_(count) {}

bool Reducer::is_position() const {
  return monoid_ == Monoid::kArgMax || monoid_ == Monoid::kArgMin;
}

std::string Reducer::neutral() const {
  switch (monoid_) {
    case Monoid::kSum:
      return "0";
    case Monoid::kProd:
      return "1";
    case Monoid::kMax:
    case Monoid::kArgMax:
      return "-Q_INFINITY";
    case Monoid::kMin:
    case Monoid::kArgMin:
      return "Q_INFINITY";
  }
  return "0";
}

std::string Reducer::declare() const {
  if (count_ == 0) {
    std::string text = fmt::format("{} {} = {};", type(), name_, neutral());
    if (is_position()) text += fmt::format(" q_int {}_at = 0;", name_);
    return text;
  }
  std::string text = fmt::format("{} {}[{}];\n", type(), name_, count_);
  if (is_position()) text += fmt::format("q_int {}_at[{}];\n", name_, count_);
  text += fmt::format("Q_UNROLL for (int q_v = 0; q_v < {}; ++q_v) {} = {}{};", count_, value(),
                      neutral(), is_position() ? ", " + at() + " = 0" : "");
  return text;
}

std::string Reducer::gather(const Reducer& into) const {
  return fmt::format("{} {} = {}[0];\nQ_UNROLL for (int q_v = 1; q_v < {}; ++q_v) {} = {};", type(),
                     into.name_, name_, count_, into.name_, combine(into.name_, value()));
}

std::string Reducer::combine(const std::string& a, const std::string& b) const {
  switch (monoid_) {
    case Monoid::kSum:
      return fmt::format("{} + {}", a, b);
    case Monoid::kProd:
      return fmt::format("{} * {}", a, b);
    default:
      return fmt::format("q_{}({}, {})", monoid_suffix(monoid_), a, b);
  }
}

std::string Reducer::add(const std::string& value, const std::string& position) const {
  if (!is_position()) return fmt::format("{} = {};", this->value(), combine(this->value(), value));
  const char* better = monoid_ == Monoid::kArgMax ? ">" : "<";
  return fmt::format("{{\nconst {0} q_x = {1};\nif (q_x {2} {3}) {{\n{3} = q_x, {4} = {5};\n}}\n}}",
                     type(), value, better, this->value(), at(), position);
}

std::string Reducer::combined(const std::string& kind, const std::string& sharing,
                              const std::string& scratch) const {
  const std::string own = value();
  const std::string best = fmt::format("q_{}_{}({}, {}, (Q_LOCAL {}*){})", kind,
                                       monoid_suffix(monoid_), own, sharing, type(), scratch);
  if (!is_position()) return fmt::format("{} = {};", own, best);
  // Among equals the first position wins; a thread without the best value offers none.
  return fmt::format(
      "{{\nconst {0} q_best = {1};\n"
      "{2} = (q_int)q_{3}_first({4} == q_best ? (long){2} : 0x7fffffffffffffffL, {5}, "
      "(Q_LOCAL long*){6});\n{4} = q_best;\n}}",
      type(), best, at(), kind, own, sharing, scratch);
}

std::string Reducer::across(const std::string& width, const std::string& scratch) const {
  return combined("reduce", width, scratch);
}

std::string Reducer::apart(int columns, int slices, const std::string& scratch) const {
  std::string one = combined("apart", fmt::format("{}, {}", columns, slices), scratch);
  if (count_ == 0) return one;
  return fmt::format("Q_UNROLL for (int q_v = 0; q_v < {}; ++q_v) {{\n{}\n}}", count_, one);
}

std::string Reducer::result() const { return is_position() ? at() : value(); }

DeviceScratch scratch_of(const ir::Program& program, const ir::Statement& statement) {
  DeviceScratch scratch{statement.name, statement.type, {}};
  for (const ir::Axis& axis : statement.axes) {
    scratch.shape.push_back(without_lets(program, axis.extent));
  }
  return scratch;
}

}  // namespace quern
