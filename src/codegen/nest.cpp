// SPDX-License-Identifier: Apache-2.0
#include "codegen/nest.h"

#include <fmt/format.h>

#include "codegen/group.h"
#include "codegen/nest_printer.h"
#include "codegen/window.h"

namespace quern {
namespace {

using ir::IntExpr;
using ir::Program;
using ir::Statement;

/// The two halves of an rfactor: partial results by part, then their combination.
struct Halves {
  Program program;  ///< the given one, with the partial tensor
  Statement partial;
  std::vector<Statement> combine;
};

Halves factor(const Program& program, const std::vector<Statement>& statements) {
  Halves halves{program, statements[0], statements};
  Statement& partial = halves.partial;
  const ir::Axis part{kPartsAxis, ir::int_size(kPartsSize)};
  partial.name = "0" + statements[0].name;
  partial.is_output = false;
  partial.axes.insert(partial.axes.begin(), part);
  Statement& whole = halves.combine[0];
  whole.reduce_axes = {part};
  std::vector<IntExpr> indices = {ir::int_axis(kPartsAxis)};
  for (const ir::Axis& axis : whole.axes) indices.push_back(ir::int_axis(axis.name));
  whole.body = ir::load(partial.name, std::move(indices));
  halves.program.statements.push_back(partial);
  return halves;
}

Result<void> print_rfactor(const Program& program, const Group& group, int number,
                           const std::vector<Statement>& statements,
                           const std::vector<std::string>& writes, Lines* out) {
  const Halves halves = factor(program, statements);
  const Statement& original = statements[0];
  const int64_t parts = group.param("parts", 0);
  out->add(fmt::format("const int64_t {} = q_imax(1, q_imin({}, {}));", size_id(kPartsSize),
                       c_int(program, original.reduce_axes[0].extent),
                       parts > 0 ? std::to_string(parts) : "q_threads()"));
  std::string count = size_id(kPartsSize);
  for (const ir::Axis& axis : original.axes) count += " * " + c_int(program, axis.extent);
  out->add(fmt::format("float* const {} = static_cast<float*>(q_scratch({}, {} * 4));",
                       tensor_id(halves.partial.name), number * 64 + 63, count));
  Group first = group;
  // The same axis in lanes as before: never the new one, which threads share.
  const int forced = static_cast<int>(group.param("axis." + original.name, -1));
  const int spatial = vector_position(original, forced);
  const int last = static_cast<int>(original.axes.size() + original.reduce_axes.size()) - 1;
  first.params["axis." + halves.partial.name] =
      1 + (spatial >= 0 ? spatial : (forced >= 0 ? forced : last));
  out->add("{");
  NestPrinter partial(halves.program, first, number, {halves.partial}, {halves.partial.name}, out);
  partial.in_parts();
  QUERN_TRY(partial.print());
  out->add("}");
  Group second = group;
  second.params.erase("axis." + original.name);
  second.params.erase("nt." + original.name);
  out->add("{");
  QUERN_TRY(NestPrinter(halves.program, second, number, halves.combine, writes, out).print());
  out->add("}");
  return {};
}

/// Lanes of both halves run along the last spatial axis.
Result<void> print_window(const SplitWindow& split, const Group& group, int number,
                          const std::vector<std::string>& writes, Lines* out) {
  Group halves = group;
  for (size_t s = 0; s < 2; ++s) {
    const Statement& half = split.statements[s];
    halves.params["axis." + half.name] = static_cast<int64_t>(half.axes.size()) - 1;
  }
  NestPrinter nest(split.program, halves, number, split.statements, writes, out);
  nest.in_windows(split);
  return nest.print();
}

}  // namespace

Result<std::string> emit_nest_group(const Program& program, const Group& group, int group_number) {
  const std::vector<Statement> statements = inline_group(program, group);
  const std::vector<std::string> writes = group_writes(program, group);
  Lines out;
  out.add(group_signature(program, group, group_number) + " {");
  out.add("QUERN_SIZES;");
  out.add("[[maybe_unused]] constexpr QBorder inside{};");
  if (group.param("rfactor", 0) != 0) {
    QUERN_TRY(print_rfactor(program, group, group_number, statements, writes, &out));
  } else if (const auto split = split_window(program, statements);
             split && group.param("vectorize", 0) != 0) {
    QUERN_TRY(print_window(*split, group, group_number, writes, &out));
  } else {
    QUERN_TRY(NestPrinter(program, group, group_number, statements, writes, &out).print());
  }
  out.add("}");
  return out.text();
}

}  // namespace quern
