// SPDX-License-Identifier: Apache-2.0
#include "codegen/row.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/group.h"

namespace quern {
namespace {

using ir::Expr;
using ir::Monoid;
using ir::Statement;

bool contains(const std::vector<int>& list, int value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

bool is_reduction(const Item& item) { return item.statement.kind == Statement::Kind::kReduce; }

std::string accumulator_id(const Item& item) { return "c_" + item.statement.name; }

std::string loop_end(const ir::Program& program, const Loop& loop) {
  if (!loop.end.empty()) return loop.end;
  std::string extent = c_int(program, loop.extent);
  if (!loop.limit) return extent;
  return fmt::format("q_imin({}, {})", extent, c_int(program, *loop.limit));
}

std::string monoid_struct(Monoid monoid) {
  constexpr const char* kNames[] = {"QSum", "QProd", "QMax", "QMin", "QArgMax", "QArgMin"};
  return kNames[static_cast<size_t>(monoid)];
}

bool is_arg(Monoid monoid) { return monoid == Monoid::kArgMax || monoid == Monoid::kArgMin; }

std::string value_id(const std::string& tensor) { return "v_" + tensor; }

const Loop& RowPrinter::lane_of(const Stage& stage) const {
  for (const Loop& loop : stage.space) {
    if (loop.name == stage.lane) return loop;
  }
  for (const Loop& loop : stage.reduce) {
    if (loop.name == stage.lane) return loop;
  }
  QUERN_CHECK(false, "a stage whose lane loop is none of its loops");
}

void RowPrinter::open_loop(const Loop& loop) {
  const std::string axis = axis_id(loop.name);
  out_->add(fmt::format("for (int64_t {0} = {1}; {0} < {2}; ++{0}) {{", axis, loop.begin,
                        loop_end(program_, loop)));
}

void RowPrinter::open_loops(const std::vector<Loop>& loops, const std::string& except) {
  for (const Loop& loop : loops) {
    if (loop.name != except) open_loop(loop);
  }
}

void RowPrinter::close(size_t count) {
  for (size_t i = 0; i < count; ++i) out_->add("}");
}

PointPrinter RowPrinter::printer_for(const Stage& stage, const Item& item, bool lanes) const {
  auto resolve = [this, &stage, lanes](const Expr& load) {
    Place place;
    place.text = tensor_id(load.name);
    for (size_t i = 0; i < items_.size(); ++i) {
      const Item& made = items_[i];
      if (made.statement.name != load.name) continue;
      const int index = static_cast<int>(i);
      const bool here = contains(stage.members, index) || contains(stage.tails, index);
      if (made.space.empty() || (here && load.indices == made.store)) {
        place.is_variable = true;
        place.text = value_id(load.name);
        place.lanes = lanes && here;
        return place;
      }
    }
    place.type = program_.type_of(load.name);
    place.shape = program_.shape_of(load.name);
    place.indices = load.indices;
    return place;
  };
  PointPrinter printer(program_, lanes ? stage.lane : "", item.guarding, resolve);
  printer.set_approximate(style_.approximate);
  return printer;
}

/// The value of an integer-typed map, computed as an integer.
std::string RowPrinter::integer_value(const Item& item) const {
  const Expr& body = item.statement.body;
  if (body.kind == Expr::Kind::kIndex) return c_int(program_, body.indices[0]);
  if (body.kind == Expr::Kind::kLoad && body.args.empty()) {
    return fmt::format("{}[{}]", tensor_id(body.name),
                       c_offset(program_, program_.shape_of(body.name), body.indices));
  }
  return "";
}

/// The distance in memory between the lanes of a stored vector, over sizes.
ir::IntExpr RowPrinter::store_stride(const Item& item) const {
  const std::vector<ir::IntExpr> shape = program_.shape_of(item.statement.name);
  const auto stride = coefficient(flat_offset(shape, item.store), item.lane);
  return stride ? *stride : ir::int_constant(1);
}

void RowPrinter::print_store(const Item& item, const std::string& tag, const std::string& value,
                             Lines* out) const {
  const std::string& name = item.statement.name;
  if (stored_.count(name) == 0) return;
  const std::string address = fmt::format("{} + {}", tensor_id(name),
                                          c_offset(program_, program_.shape_of(name), item.store));
  const ir::IntExpr stride = store_stride(item);
  if (tag == "w" && stride != ir::int_constant(1)) {
    return out->add(
        fmt::format("q_st_strided(w, {}, {}, {});", address, c_int(program_, stride), value));
  }
  if (style_.joined.count(name) != 0) {
    return out->add(fmt::format("q_stream_row(whole_{}, {}, {}, {});", name, tag, address, value));
  }
  const bool streamed = style_.streamed.count(name) != 0;
  out->add(fmt::format("{}({}, {}, {});", streamed ? "q_stream" : "q_st", tag, address, value));
}

/// A map without loops of its own: one value a row.
void RowPrinter::print_scalar(const Stage& stage) {
  const Item& only = item(stage.members[0]);
  PointPrinter printer = printer_for(stage, only, false);
  const std::string value = value_id(only.statement.name);
  out_->add(fmt::format("{}{} = {};", style_.keeps_scalars ? "" : "[[maybe_unused]] const float ",
                        value, printer.value(only.statement.body).code));
  if (is_float(only.statement.type)) return print_store(only, "QOne{}", value, out_);
  const std::string whole = integer_value(only);
  if (stored_.count(only.statement.name) == 0) return;
  out_->add(fmt::format("{}[{}] = static_cast<{}>({});", tensor_id(only.statement.name),
                        c_offset(program_, program_.shape_of(only.statement.name), only.store),
                        c_type(only.statement.type), whole.empty() ? value : whole));
}

/// One statement inside the innermost loop body, generic over `w`.
void RowPrinter::print_member(const Stage& stage, const Item& item, PointPrinter* printer,
                              Lines* out, Lines* stores, const std::string& accumulator) {
  static_cast<void>(stage);
  const Statement& statement = item.statement;
  if (!is_reduction(item)) {
    const std::string value = value_id(statement.name);
    out->add(
        fmt::format("[[maybe_unused]] const auto {} = {};", value, printer->wide(statement.body)));
    const std::string whole = is_float(statement.type) ? "" : integer_value(item);
    if (whole.empty() || stored_.count(statement.name) == 0) {
      return print_store(item, "w", value, stores);
    }
    stores->add(fmt::format("for (int l = 0; l < w.n; ++l) {{"));
    stores->add(fmt::format("const int64_t at = {} + l;", axis_id(stage.lane)));
    stores->add(fmt::format("const int64_t {} = at;", axis_id(stage.lane)));
    stores->add(fmt::format("{}[{}] = static_cast<{}>({});", tensor_id(statement.name),
                            c_offset(program_, program_.shape_of(statement.name), item.store),
                            c_type(statement.type), whole));
    return stores->add("}");
  }
  const std::string op = monoid_struct(statement.monoid);
  const std::string value = printer->wide(statement.body);
  if (is_arg(statement.monoid)) {
    const std::string axis = item.reduce[0].name;
    out->add(fmt::format("q_take<{}>(w, {}, {}, q_at(w, {}, {}));", op, accumulator, value,
                         axis_id(axis), axis == stage.lane ? 1 : 0));
  } else if (stage.lane_is_spatial) {
    out->add(fmt::format("{0} = {1}::op({0}, {2});", accumulator, op, value));
  } else {
    out->add(fmt::format("{0} = {1}::op({0}, q_keep(w, {2}, {1}::id()));", accumulator, op, value));
  }
}

/// Where a row of partial window results starts to load from: whole vectors are best aligned there.
std::string RowPrinter::window_source(const Stage& stage) const {
  const Item& made = item(stage.members[0]);
  if (made.statement.name != style_.window || made.statement.body.indices.empty()) return "";
  const Expr& load = made.statement.body;
  std::vector<std::string> names = {stage.lane};
  for (const Loop& loop : stage.reduce) names.push_back(loop.name);
  const std::vector<ir::IntExpr> zeros(names.size(), ir::int_constant(0));
  const ir::IntExpr offset = flat_offset(program_.shape_of(load.name), load.indices);
  return fmt::format("{} + {}", tensor_id(load.name),
                     c_int(program_, ir::substitute(offset, names, zeros)));
}

/// The one joined tensor that a stage stores, where the stage reads nothing but the row of partial
/// window results: both have room for whole vectors beyond their ends. "" where it does more.
std::string RowPrinter::joined_row(const Stage& stage) const {
  std::vector<int> all = stage.members;
  all.insert(all.end(), stage.tails.begin(), stage.tails.end());
  std::string joined;
  for (int index : all) {
    const std::string& name = item(index).statement.name;
    if (stored_.count(name) != 0) {
      if (style_.joined.count(name) == 0 || !joined.empty()) return "";
      joined = name;
    }
    for (const Expr* load : ir::loads_of(item(index).statement.body)) {
      const bool here = std::any_of(all.begin(), all.end(), [&](int other) {
        return item(other).statement.name == load->name;
      });
      if (!here && load->name != style_.window) return "";
    }
  }
  return joined;
}

std::string RowPrinter::lane_loop(const Stage& stage, const std::string& suffix) const {
  const Loop& loop = lane_of(stage);
  for (int member : stage.lane_is_spatial && !stage.tails.empty() ? stage.tails : stage.members) {
    const Item& made = item(member);
    if (style_.streamed.count(made.statement.name) == 0) continue;
    std::vector<ir::IntExpr> start = made.store;
    for (ir::IntExpr& index : start) {
      index = ir::substitute(index, {stage.lane}, {ir::int_constant(0)});
    }
    const std::string offset = c_offset(program_, program_.shape_of(made.statement.name), start);
    if (const std::string row = joined_row(stage); !suffix.empty() && !row.empty()) {
      return fmt::format("q_tiles_over<{}>(whole_{}.buffers != nullptr, QFull{{}}, {} + {}, {}, {}",
                         style_.tile, row, tensor_id(made.statement.name), offset, loop.begin,
                         loop_end(program_, loop));
    }
    return fmt::format("{}_aligned<{}>({}, {} + {}, {}, {}", suffix.empty() ? "q_loop" : "q_tiles",
                       suffix.empty() ? style_.unroll : style_.tile,
                       style_.vectorize ? "QFull{}" : "QOne{}", tensor_id(made.statement.name),
                       offset, loop.begin, loop_end(program_, loop));
  }
  if (const std::string source = window_source(stage); !source.empty()) {
    return fmt::format("q_tiles_aligned<{}>({}, {}, {}, {}", style_.tile,
                       style_.vectorize ? "QFull{}" : "QOne{}", source, loop.begin,
                       loop_end(program_, loop));
  }
  return fmt::format("{}<{}>({}, {}, {}", suffix.empty() ? "q_loop" : "q_tiles",
                     suffix.empty() ? style_.unroll : style_.tile,
                     style_.vectorize ? "QFull{}" : "QOne{}", loop.begin, loop_end(program_, loop));
}

void RowPrinter::print_finish(const Stage& stage, const Item& item) {
  static_cast<void>(stage);
  const Statement& statement = item.statement;
  const std::string op = monoid_struct(statement.monoid);
  const std::string value = value_id(statement.name);
  const std::string acc = accumulator_id(item);
  const std::string declare = item.space.empty() ? "" : "[[maybe_unused]] const float ";
  if (!is_arg(statement.monoid)) {
    out_->add(fmt::format("{}{} = q_across<{}>(q_fold<{}>({}));", declare, value, op, op, acc));
    return print_store(item, "QOne{}", value, out_);
  }
  out_->add(fmt::format("const int64_t i_{} = q_first<{}>({}, {});", statement.name, op, acc,
                        style_.unroll));
  out_->add(fmt::format("{}{} = static_cast<float>(i_{});", declare, value, statement.name));
  if (stored_.count(statement.name) == 0) return;
  out_->add(fmt::format("{}[{}] = static_cast<{}>(i_{});", tensor_id(statement.name),
                        c_offset(program_, program_.shape_of(statement.name), item.store),
                        c_type(statement.type), statement.name));
}

/// Accumulators of a stage whose lanes run along its reduced loop, at their neutral elements.
void RowPrinter::declare_row_accumulators(const Stage& stage) {
  const std::string vector = style_.vectorize ? "qv" : "float";
  const std::string best = style_.vectorize ? "q_best" : "q_best1";
  for (int member : stage.members) {
    const Statement& statement = item(member).statement;
    if (!is_reduction(item(member))) continue;
    const std::string acc = accumulator_id(item(member));
    const bool arg = is_arg(statement.monoid);
    out_->add(fmt::format("{} {}[{}];", arg ? best : vector, acc, style_.unroll));
    out_->add(
        arg ? fmt::format("for (auto& c : {}) q_none<{}>(c);", acc, monoid_struct(statement.monoid))
            : fmt::format("for (auto& c : {}) c = {}{}::id(){};", acc,
                          style_.vectorize ? "q_splat(" : "", monoid_struct(statement.monoid),
                          style_.vectorize ? ")" : ""));
  }
}

void RowPrinter::print_point(const Stage& stage, Lines* body, Lines* stores) {
  print_prefetches(stage, body);
  int number = 0;
  for (int member : stage.members) {
    PointPrinter printer = printer_for(stage, item(member), true);
    printer.set_prefix(fmt::format("h{}_", number++));
    const std::string acc = accumulator_id(item(member)) + "[decltype(u)::v]";
    print_member(stage, item(member), &printer, body, stores, acc);
    for (const std::string& line : printer.invariants()) out_->add(line);
  }
}

void RowPrinter::print_finishes(const Stage& stage) {
  for (int member : stage.members) {
    if (is_reduction(item(member))) print_finish(stage, item(member));
  }
}

std::string RowPrinter::accumulators_by_reference(const Stage& stage) const {
  std::string list;
  for (int member : stage.members) {
    if (is_reduction(item(member))) list += ", &" + accumulator_id(item(member));
  }
  return list;
}

std::string RowPrinter::open_lanes(const Stage& stage) const {
  return fmt::format(
      "{}, [&](auto w, const int64_t {}, [[maybe_unused]] auto u) "
      "__attribute__((always_inline)) {{",
      lane_loop(stage, ""), axis_id(stage.lane));
}

void RowPrinter::print_across_lanes(const Stage& stage) {
  bool reduces = false;
  for (int member : stage.members) {
    if (!is_reduction(item(member))) continue;
    reduces = true;
    if (stage.space.empty() && !style_.keeps_scalars) {
      out_->add(fmt::format("[[maybe_unused]] float {};", value_id(item(member).statement.name)));
    }
  }
  out_->add("{");
  open_loops(stage.space, stage.lane);
  declare_row_accumulators(stage);
  open_loops(stage.reduce, stage.lane);
  Lines body;
  print_point(stage, &body, &body);
  out_->add(open_lanes(stage));
  out_->add_lines(body.text());
  out_->add("});");
  size_t inner = 0;
  for (const Loop& loop : stage.reduce) inner += loop.name != stage.lane ? 1 : 0;
  close(inner);
  print_finishes(stage);
  if (reduces) print_tails(stage, false);
  close(stage.space.size());
  out_->add("}");
}

void RowPrinter::print_tails(const Stage& stage, bool lanes) {
  int number = 0;
  for (int tail : stage.tails) {
    const Item& made = item(tail);
    PointPrinter printer = printer_for(stage, made, lanes);
    printer.set_prefix(fmt::format("t{}_", number++));
    const std::string value = value_id(made.statement.name);
    const std::string code =
        lanes ? printer.wide(made.statement.body) : printer.value(made.statement.body).code;
    for (const std::string& line : printer.invariants()) out_->add(line);
    out_->add(fmt::format("[[maybe_unused]] const auto {} = {};", value, code));
    print_store(made, lanes ? "w" : "QOne{}", value, out_);
  }
}

void RowPrinter::print(const Stage& stage) {
  const Item& first = item(stage.members[0]);
  if (first.scan >= 0) {
    const bool along = first.space[static_cast<size_t>(first.scan)].name == stage.lane;
    return along ? print_scan_along(stage) : print_scan_down(stage);
  }
  if (stage.space.empty() && stage.reduce.empty()) return print_scalar(stage);
  if (stage.lane_is_spatial) return print_down_lanes(stage);
  return print_across_lanes(stage);
}

}  // namespace quern
