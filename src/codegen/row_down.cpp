// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "codegen/group.h"
#include "codegen/row.h"

// Reductions whose lanes lie beside one another, along a spatial loop: tiles of vectors, each with
// an accumulator that walks down the reduced loops.
namespace quern {

using ir::Statement;

/// Whether guarded loads stay inside for a whole tile and all points of the inner loops, as C++;
/// "" where that is not a matter of two corner points.
std::string RowPrinter::inside_condition(
    const Stage& stage, const std::vector<std::pair<ir::IntExpr, ir::IntExpr>>& guards) const {
  std::vector<std::string> tests;
  for (const auto& guard : guards) {
    const ir::IntExpr& index = guard.first;
    const ir::IntExpr& extent = guard.second;
    std::string low;
    std::string high;
    std::vector<std::string> names;
    auto spread = [&](const std::string& axis, const std::string& last) {
      const auto c = coefficient(index, axis);
      if (!c) return false;
      names.push_back(axis);
      if (*c == ir::int_constant(0)) return true;
      const std::string far = fmt::format("{} * ({})", c_int(program_, *c), last);
      low += fmt::format(" + q_imin(0, {})", far);
      high += fmt::format(" + q_imax(0, {})", far);
      return true;
    };
    for (const Loop& loop : stage.reduce) {
      if (loop.begin != "int64_t{0}" || !loop.end.empty()) return "";
      if (!spread(loop.name, loop_end(program_, loop) + " - 1")) return "";
    }
    if (!spread(stage.lane, "(kTiles - 1) * q_step(w) + w.n - 1")) return "";
    const std::vector<ir::IntExpr> zeros(names.size(), ir::int_constant(0));
    const std::string corner =
        fmt::format("{} + {} * tile", c_int(program_, ir::substitute(index, names, zeros)),
                    c_int(program_, *coefficient(index, stage.lane)));
    tests.push_back(
        fmt::format("{}{} >= 0 && {}{} < {}", corner, low, corner, high, c_int(program_, extent)));
  }
  return fmt::format("{}", fmt::join(tests, " && "));
}

/// One accumulator for each tile of the strip, at its neutral element.
void RowPrinter::declare_tile_accumulators(const Stage& stage) {
  for (int member : stage.members) {
    const Statement& statement = item(member).statement;
    if (!is_reduction(item(member))) continue;
    const std::string acc = accumulator_id(item(member));
    const std::string op = monoid_struct(statement.monoid);
    const bool arg = is_arg(statement.monoid);
    out_->add(fmt::format("{} {}[kTiles];", arg ? "B" : "V", acc));
    out_->add(arg ? fmt::format("for (auto& c : {}) q_none<{}>(c);", acc, op)
                  : fmt::format("for (auto& c : {}) c = q_wide(w, {}::id());", acc, op));
  }
}

bool RowPrinter::holds_pairs(const Stage& stage) const {
  return style_.pairs && item(stage.members[0]).statement.name == style_.window;
}

/// The pair after the last partial result.
void RowPrinter::print_last_pair(const Stage& stage) {
  const Item& made = item(stage.members[0]);
  const Loop& loop = lane_of(stage);
  const std::string axis = axis_id(stage.lane), name = made.statement.name;
  out_->add(fmt::format("if (const int64_t {0} = {1}; {0} < {2}) {{", axis,
                        loop_end(program_, loop), c_int(program_, loop.extent)));
  print_store(made, "QOne{}", fmt::format("before_{}[QN - 1]", name), out_);
  out_->add("}");
}

/// Each tile's values, and their stores.
void RowPrinter::print_tile_results(const Stage& stage) {
  for (int member : stage.members) {
    const Item& made = item(member);
    if (!is_reduction(made)) continue;
    const std::string acc = accumulator_id(made) + "[decltype(u)::v]";
    const std::string value = value_id(made.statement.name);
    if (is_arg(made.statement.monoid)) {
      out_->add(fmt::format("[[maybe_unused]] const auto {} = q_best_at({});", value, acc));
      if (stored_.count(made.statement.name) == 0) continue;
      out_->add(fmt::format("q_st_at(w, {} + {}, {}, {});", tensor_id(made.statement.name),
                            c_offset(program_, program_.shape_of(made.statement.name), made.store),
                            c_int(program_, store_stride(made)), acc));
    } else if (holds_pairs(stage)) {
      const std::string& name = made.statement.name;
      out_->add(fmt::format("const qv {} = {}::op({}, q_behind(before_{}, {}));", value,
                            monoid_struct(made.statement.monoid), acc, name, acc));
      out_->add(fmt::format("before_{} = q_before(w, {});", name, acc));
      print_store(made, "w", value, out_);
    } else {
      out_->add(fmt::format("[[maybe_unused]] const auto {} = {};", value, acc));
      print_store(made, "w", value, out_);
    }
  }
}

void RowPrinter::print_down_lanes(const Stage& stage) {
  out_->add("{");
  open_loops(stage.space, stage.lane);
  if (holds_pairs(stage)) {
    const Statement& row = item(stage.members[0]).statement;
    out_->add(
        fmt::format("qv before_{} = q_splat({}::id());", row.name, monoid_struct(row.monoid)));
  }
  const std::string lane = axis_id(stage.lane);
  out_->add(
      fmt::format("{}, [&](auto w, const int64_t tile, auto tiles) "
                  "__attribute__((always_inline)) {{",
                  lane_loop(stage, "tiles")));
  out_->add("using V [[maybe_unused]] = typename q_of<decltype(w)>::value;");
  out_->add("using B [[maybe_unused]] = typename q_best_of<decltype(w)>::type;");
  out_->add("constexpr int kTiles = decltype(tiles)::v;");
  declare_tile_accumulators(stage);
  Lines body;
  std::vector<std::string> invariants;
  std::vector<std::pair<ir::IntExpr, ir::IntExpr>> guards;
  print_step_prefetches(stage, &body);
  int number = 0;
  for (int member : stage.members) {
    PointPrinter printer = printer_for(stage, item(member), true);
    printer.set_prefix(fmt::format("h{}_", number++));
    const std::string acc = accumulator_id(item(member)) + "[decltype(u)::v]";
    print_member(stage, item(member), &printer, &body, &body, acc);
    invariants.insert(invariants.end(), printer.invariants().begin(), printer.invariants().end());
    guards.insert(guards.end(), printer.guards().begin(), printer.guards().end());
  }
  const std::string unrolled =
      fmt::format("q_unroll<kTiles>([&](auto u) __attribute__((always_inline)) {{");
  const std::string at = fmt::format("const int64_t {} = tile + decltype(u)::v * q_step(w);", lane);
  const std::string inside = guards.empty() ? "" : inside_condition(stage, guards);
  if (!inside.empty()) {
    out_->add("const auto points = [&](auto inside) __attribute__((always_inline)) {");
    out_->add("static_cast<void>(inside);");
  }
  open_loops(stage.reduce, "");
  for (const std::string& line : invariants) out_->add(line);
  out_->add(unrolled);
  out_->add(at);
  out_->add_lines(body.text());
  out_->add("});");
  close(stage.reduce.size());
  if (!inside.empty()) {
    out_->add("};");
    out_->add(fmt::format("if ({}) {{", inside));
    out_->add("points(QInside{});");
    out_->add("} else {");
    out_->add("points(QBorder{});");
    out_->add("}");
  }
  out_->add(unrolled);
  out_->add("[[maybe_unused]] " + at);
  print_window_prefetches(stage);
  print_tile_results(stage);
  print_tails(stage, true);
  out_->add("});");
  out_->add("});");
  if (holds_pairs(stage)) print_last_pair(stage);
  close(stage.space.size() - 1);
  out_->add("}");
}

}  // namespace quern
