// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>

#include "ir/recurrence.h"
#include "task/lower.h"
#include "task/parse.h"

namespace quern {
namespace {

std::string number(double value) {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return fmt::format("{}", value);
}

/// `stated`: with every extent, whether it could be told or not.
std::string axis_list(const ir::Program& before, const ir::Statement& s,
                      const std::vector<ir::Axis>& axes, bool stated = false) {
  std::string text;
  for (const ir::Axis& axis : axes) {
    if (!text.empty()) text += ", ";
    text += axis.name;
    std::optional<ir::IntExpr> inferred = inferred_extent(before, s.body, axis.name);
    if (stated || !inferred || !(*inferred == axis.extent)) text += " < " + ir::print(axis.extent);
  }
  return text;
}

std::string drawn_text(const ir::Distribution& draw) {
  using Kind = ir::Distribution::Kind;
  switch (draw.kind) {
    case Kind::kUniform:
      return fmt::format(" ~ uniform({}, {})", number(draw.a), number(draw.b));
    case Kind::kIntegers:
      return fmt::format(" ~ integers({}, {})", ir::print(draw.low), ir::print(draw.high));
    case Kind::kConstant:
      return fmt::format(" ~ constant({})", number(draw.a));
    case Kind::kNormal:
      break;
  }
  return fmt::format(" ~ normal({}, {})", number(draw.a), number(draw.b));
}

std::string distribution_text(const ir::Distribution& draw) {
  if (draw == ir::Distribution{}) return "";
  const std::string structure = ir::structure_name(draw.structure);
  return drawn_text(draw) + (structure.empty() ? "" : ", " + structure);
}

std::string input_text(const ir::InputDecl& input) {
  std::string shape;
  for (const ir::IntExpr& extent : input.shape)
    shape += (shape.empty() ? "" : ", ") + ir::print(extent);
  if (!shape.empty()) shape = "[" + shape + "]";
  return fmt::format("{} {} : {}{}{}\n", input.is_param ? "param" : "input", input.name,
                     dtype_name(input.type), shape, distribution_text(input.distribution));
}

std::string statement_text(const ir::Program& before, const ir::Statement& s, bool stated) {
  std::string text = s.is_output ? "output " + s.name : s.name;
  std::string type;
  if (s.type != default_type(before, s)) type = " : " + std::string(dtype_name(s.type));
  text += type;
  if (!s.axes.empty()) text += "[" + axis_list(before, s, s.axes, stated) + "]";
  text += " = ";
  if (s.kind == ir::Statement::Kind::kReduce) {
    text += fmt::format("{}[{}] ", ir::monoid_name(s.monoid), axis_list(before, s, s.reduce_axes));
  } else if (s.kind == ir::Statement::Kind::kScan) {
    text +=
        fmt::format("scan_{}{}{}[{}] ", ir::monoid_name(s.monoid), s.exclusive ? " exclusive" : "",
                    s.reverse ? " reverse" : "", s.axes[static_cast<size_t>(s.scan_axis)].name);
  }
  text += ir::print(s.body);
  if (!s.origin.empty()) text += " as " + s.origin;
  return text + "\n";
}

std::string size_set_text(const ir::Program& program, const ir::SizeSet& set) {
  std::string text = "sizes " + set.name + ":";
  const char* separator = " ";
  for (const ir::SizeDecl& size : program.sizes) {
    auto found = set.values.find(size.name);
    if (found == set.values.end()) continue;
    text += fmt::format("{}{} = {}", separator, size.name, found->second);
    separator = ", ";
  }
  return text + "\n";
}

}  // namespace

std::string print_task(const ir::Program& program) {
  std::string text;
  for (const std::string& line : program.doc) text += line.empty() ? "#\n" : "# " + line + "\n";
  text += "task " + program.name + "(";
  const char* separator = "";
  for (const ir::SizeDecl& size : program.sizes) {
    if (size.let) continue;
    text += fmt::format("{}{} = {}", separator, size.name, size.value);
    separator = ", ";
  }
  text += ")\n";
  for (const ir::SizeSet& set : program.size_sets) text += size_set_text(program, set);
  for (const ir::SizeDecl& size : program.sizes) {
    if (size.let) text += fmt::format("let {} = {}\n", size.name, ir::print(*size.let));
  }
  if (program.precision != "fp32") text += "precision " + program.precision + "\n";
  for (const ir::InputDecl& input : program.inputs) text += input_text(input);
  const std::vector<ir::Recurrence> loops = ir::recurrences(program);
  for (size_t s = 0; s < program.statements.size(); ++s) {
    // The statements of a recurrence are read before their lines come.
    const bool stated = ir::recurrence_of(loops, static_cast<int>(s)) != nullptr;
    text += statement_text(program, program.statements[s], stated);
  }
  return text;
}

}  // namespace quern
