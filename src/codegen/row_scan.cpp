// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "codegen/group.h"
#include "codegen/row.h"

// Scans inside a row: lanes along the scanned axis, carrying across, or lanes beside one another.
namespace quern {

using ir::Statement;

void RowPrinter::print_scan_along(const Stage& stage) {
  const Item& made = item(stage.members[0]);
  const Statement& statement = made.statement;
  const Loop& loop = lane_of(stage);
  const std::string op = monoid_struct(statement.monoid);
  out_->add("{");
  open_loops(stage.space, stage.lane);
  out_->add(fmt::format("float carry = {}::id();", op));
  PointPrinter printer = printer_for(stage, made, true);
  const std::string value = printer.wide(statement.body);
  for (const std::string& line : printer.invariants()) out_->add(line);
  const bool aligned = !statement.reverse;
  out_->add(fmt::format(
      "{}, [&](auto w, const int64_t {}, auto) __attribute__((always_inline)) {{",
      aligned ? lane_loop(stage, "")
              : fmt::format("q_loop_down({}, {}, {}", style_.vectorize ? "QFull{}" : "QOne{}",
                            loop.begin, loop_end(program_, loop)),
      axis_id(stage.lane)));
  out_->add(fmt::format("const auto v = q_scan<{}, {}, {}>(w, {}, carry);", op, statement.reverse,
                        statement.exclusive, value));
  print_store(made, "w", "v", out_);
  out_->add("});");
  close(stage.space.size() - 1);
  out_->add("}");
}

void RowPrinter::print_scan_down(const Stage& stage) {
  const Item& made = item(stage.members[0]);
  const Statement& statement = made.statement;
  const std::string op = monoid_struct(statement.monoid);
  const Loop& along = made.space[static_cast<size_t>(made.scan)];
  out_->add("{");
  size_t outer = 0;
  for (const Loop& loop : stage.space) {
    if (loop.name == stage.lane || loop.name == along.name) continue;
    open_loop(loop);
    ++outer;
  }
  out_->add(
      fmt::format("{}, [&](auto w, const int64_t tile, auto tiles) "
                  "__attribute__((always_inline)) {{",
                  lane_loop(stage, "tiles")));
  out_->add("constexpr int kTiles = decltype(tiles)::v;");
  out_->add("typename q_of<decltype(w)>::value c[kTiles];");
  out_->add(fmt::format("for (auto& each : c) each = q_wide(w, {}::id());", op));
  const std::string axis = axis_id(along.name);
  const std::string end = loop_end(program_, along);
  out_->add(statement.reverse
                ? fmt::format("for (int64_t {0} = {1} - 1; {0} >= 0; --{0}) {{", axis, end)
                : fmt::format("for (int64_t {0} = 0; {0} < {1}; ++{0}) {{", axis, end));
  PointPrinter printer = printer_for(stage, made, true);
  const std::string value = printer.wide(statement.body);
  for (const std::string& line : printer.invariants()) out_->add(line);
  out_->add("q_unroll<kTiles>([&](auto u) __attribute__((always_inline)) {");
  out_->add(
      fmt::format("const int64_t {} = tile + decltype(u)::v * q_step(w);", axis_id(stage.lane)));
  out_->add("auto& acc = c[decltype(u)::v];");
  if (statement.exclusive) print_store(made, "w", "acc", out_);
  out_->add(fmt::format("acc = {}::op(acc, {});", op, value));
  if (!statement.exclusive) print_store(made, "w", "acc", out_);
  out_->add("});");
  out_->add("}");
  out_->add("});");
  close(outer);
  out_->add("}");
}

}  // namespace quern
