// SPDX-License-Identifier: Apache-2.0
#include "codegen/recurrence_cpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "codegen/group.h"
#include "codegen/lines.h"
#include "codegen/point.h"
#include "codegen/row.h"
#include "ir/recurrence.h"

namespace quern {
namespace {

using ir::Axis;
using ir::Expr;
using ir::IntExpr;
using ir::Program;
using ir::Statement;

/// A sum of products whose factors `fixed` are the same at all steps and for all rows; the others
/// do not depend on the last axis.
struct Product {
  Expr fixed, moving;
};

class RecurrencePrinter {
 public:
  RecurrencePrinter(const Program& program, const Group& group, int number)
      : program_(program), group_(group), number_(number) {
    for (const ir::Recurrence& each : ir::recurrences(program)) {
      if (each.holds(group.root)) recurrence_ = each;
    }
    stored_ = group_writes(program, group);
    for (int s = recurrence_.first; s <= recurrence_.last; ++s) {
      if (cycles(s)) cycled_.push_back(program.statements[static_cast<size_t>(s)].name);
    }
    for (int s = recurrence_.first; s <= recurrence_.last; ++s) {
      Statement member = program.statements[static_cast<size_t>(s)];
      member.body = guarded(member.body);
      members_.push_back(std::move(member));
      products_.push_back(product_of(members_.back()));
    }
  }

  std::string print() {
    out_.add(signature() + " {");
    out_.add("QUERN_SIZES;");
    out_.add("[[maybe_unused]] constexpr QBorder inside{};");
    print_memory();
    out_.add("static qr::Gate gate;");
    out_.add("gate = {};");
    out_.add(fmt::format("const int64_t steps = {};", c_int(program_, step_axis().extent)));
    out_.add(fmt::format("#pragma omp parallel num_threads(qr::team_for({}))", work()));
    out_.add("{");
    out_.add("qr::Member me{&gate, q_thread(), q_team(), 0};");
    const std::vector<size_t> ends = runs();
    for (size_t run = 0, m = 0; run < ends.size(); m = ends[run++]) print_part(run, members_[m]);
    for (size_t run = 0, m = 0; run < ends.size(); ++run) {
      for (; m < ends[run]; ++m) print_packing(m, run);
    }
    out_.add("qr::meet(me);");
    out_.add("for (int64_t step = 0; step < steps; ++step) {");
    out_.add(fmt::format("const int64_t {} = {};", axis_id(recurrence_.axis),
                         recurrence_.backwards ? "steps - 1 - step" : "step"));
    for (int64_t back = 0; back <= recurrence_.reach && !cycled_.empty(); ++back) {
      out_.add(fmt::format("[[maybe_unused]] const int64_t {} = q_mod({} {} {}, {});",
                           axis_id(slot(back)), axis_id(recurrence_.axis),
                           recurrence_.backwards ? '+' : '-', back, slots()));
    }
    for (size_t run = 0, m = 0; run < ends.size(); ++run) {
      for (; m < ends[run]; ++m) print_member(m, run);
      out_.add("qr::meet(me);");
    }
    out_.add("}");
    out_.add("}");
    out_.add("}");
    return out_.text();
  }

 private:
  const Axis& step_axis() const {
    return members_[0].axes[static_cast<size_t>(recurrence_.positions[0])];
  }

  // What only the recurrence reads is kept for as many steps as a read reaches back: memory that
  // stays in the caches. Threads are less than a step apart, so one step more is room enough.
  int64_t slots() const { return recurrence_.reach + 2; }
  /// The axis that stands for the place of an earlier step among those kept.
  static std::string slot(int64_t back) { return fmt::format("0s{}", back); }

  bool is_cycled(const std::string& tensor) const {
    return std::ranges::find(cycled_, tensor) != cycled_.end();
  }

  bool cycles(int statement) const;
  Expr guarded(const Expr& in) const;

  /// Extents of a tensor in memory, and the indices of an element there.
  std::vector<IntExpr> memory_shape(const std::string& tensor) const {
    std::vector<IntExpr> shape = program_.shape_of(tensor);
    if (is_cycled(tensor)) shape[step_place(tensor)] = ir::int_constant(slots());
    return shape;
  }
  std::vector<IntExpr> memory_indices(const std::string& tensor,
                                      std::vector<IntExpr> indices) const {
    if (!is_cycled(tensor)) return indices;
    IntExpr& step = indices[step_place(tensor)];
    const int64_t offset = ir::offset_along(step, recurrence_.axis).value_or(0);
    step = ir::int_axis(slot(offset < 0 ? -offset : offset));
    return indices;
  }
  size_t step_place(const std::string& tensor) const {
    return static_cast<size_t>(recurrence_.position(program_.statement_index(tensor)));
  }

  /// The axes of a statement but that of the steps.
  std::vector<Axis> points_of(const Statement& statement) const {
    std::vector<Axis> axes;
    for (const Axis& axis : statement.axes) {
      if (axis.name != recurrence_.axis) axes.push_back(axis);
    }
    return axes;
  }

  std::string product(const std::vector<Axis>& axes) const {
    std::string text = "int64_t{1}";
    for (const Axis& axis : axes) text += " * " + c_int(program_, axis.extent);
    return text;
  }

  /// As `group_signature`, but what is stored is read as well, by other threads too.
  std::string signature() const {
    std::vector<std::string> params;
    for (const std::string& size : program_.free_sizes()) params.push_back("int64_t z_" + size);
    for (const std::string& name : group_reads(program_, group_)) {
      params.push_back(
          fmt::format("const {}* __restrict {}", c_type(program_.type_of(name)), tensor_id(name)));
    }
    for (const std::string& name : stored_) {
      params.push_back(fmt::format("{}* {}", c_type(program_.type_of(name)), tensor_id(name)));
    }
    return fmt::format("static void group_{}({})", number_, fmt::join(params, ", "));
  }

  /// Multiplications of one step.
  std::string work() const {
    std::string text = "0.0";
    for (const Statement& member : members_) {
      std::vector<Axis> axes = points_of(member);
      axes.insert(axes.end(), member.reduce_axes.begin(), member.reduce_axes.end());
      const char* each = member.kind == Statement::Kind::kMap ? " * 16" : "";
      text += fmt::format(" + static_cast<double>({}{})", product(axes), each);
    }
    return text;
  }

  std::optional<Product> product_of(const Statement& statement) const;
  void factors(const Expr& body, std::vector<const Expr*>* found) const {
    if (body.kind == Expr::Kind::kOp && body.op == ir::Op::kMul) {
      for (const Expr& arg : body.args) factors(arg, found);
    } else {
      found->push_back(&body);
    }
  }

  /// Memory of what only the recurrence itself uses, of packed factors and of operands.
  void print_memory() {
    out_.add("int64_t room = 0;");
    out_.add("const auto take = [&](const int64_t floats) {");
    out_.add("room += (floats + 15) / 16 * 16;");
    out_.add("return room - (floats + 15) / 16 * 16;");
    out_.add("};");
    std::vector<std::pair<std::string, std::string>> pieces;
    for (size_t m = 0; m < members_.size(); ++m) {
      const Statement& member = members_[m];
      if (std::ranges::find(stored_, member.name) == stored_.end()) {
        std::vector<Axis> axes = member.axes;
        if (is_cycled(member.name)) {
          axes[step_place(member.name)].extent = ir::int_constant(slots());
        }
        pieces.emplace_back(tensor_id(member.name), product(axes));
      }
      if (!products_[m]) continue;
      const std::string terms = product(member.reduce_axes);
      pieces.emplace_back("p_" + member.name,
                          fmt::format("qr::panel_floats({}, {})",
                                      c_int(program_, points_of(member).back().extent), terms));
      pieces.emplace_back("x_" + member.name, fmt::format("q_threads() * qr::kRows * {}", terms));
    }
    for (const auto& [name, floats] : pieces) {
      out_.add(fmt::format("const int64_t at_{} = take({});", name, floats));
    }
    out_.add(fmt::format("float* const memory = static_cast<float*>(q_scratch({}, room * 4 + 64));",
                         number_ * 64));
    out_.add("static_cast<void>(memory);");
    for (const auto& [name, floats] : pieces) {
      out_.add(fmt::format("float* const {0} = memory + at_{0};", name));
    }
  }

  /// Where runs of members end. Those of a run have the same points, and read one another's
  /// results of the same step at their own points alone: each thread makes what it needs.
  std::vector<size_t> runs() const {
    std::vector<size_t> ends;
    size_t first = 0;
    for (size_t m = 1; m < members_.size(); ++m) {
      if (joins(first, m)) continue;
      ends.push_back(m);
      first = m;
    }
    ends.push_back(members_.size());
    return ends;
  }

  bool joins(size_t first, size_t m) const {
    const std::vector<Axis> points = points_of(members_[m]);
    const std::vector<Axis> others = points_of(members_[first]);
    const bool same = std::equal(points.begin(), points.end(), others.begin(), others.end(),
                                 [](const Axis& a, const Axis& b) { return a.extent == b.extent; });
    if (!same) return false;
    return std::ranges::all_of(ir::loads_of(members_[m].body), [&](const Expr* load) {
      for (size_t made = first; made < m; ++made) {
        if (members_[made].name == load->name && !own_point(made, m, *load)) return false;
      }
      return true;
    });
  }

  bool own_point(size_t made, size_t reader, const Expr& load) const {
    const auto place = static_cast<size_t>(recurrence_.positions[made]);
    if (load.indices[place] != ir::int_axis(recurrence_.axis)) return true;  // of an earlier step
    const std::vector<Axis> points = points_of(members_[reader]);
    for (size_t d = 0, p = 0; d < load.indices.size(); ++d) {
      if (d != place && load.indices[d] != ir::int_axis(points[p++].name)) return false;
    }
    return true;
  }

  void print_part(size_t run, const Statement& statement) {
    std::vector<Axis> rows = points_of(statement);
    const std::string length = rows.empty() ? "1" : c_int(program_, rows.back().extent);
    if (!rows.empty()) rows.pop_back();
    out_.add(fmt::format("const qr::Part part{} = qr::part_of(me, {}, {});", run, product(rows),
                         length));
  }

  PointPrinter printer_for(const Statement& statement, const std::string& lane) const {
    const auto resolve = [this](const Expr& load) {
      Place place;
      place.text = tensor_id(load.name);
      place.type = program_.type_of(load.name);
      place.shape = memory_shape(load.name);
      place.indices = memory_indices(load.name, load.indices);
      return place;
    };
    return PointPrinter(program_, lane, has_guarding_select(program_, statement), resolve);
  }

  /// The panels of the thread's own elements.
  void print_packing(size_t m, size_t run) {
    if (!products_[m]) return;
    const Statement& member = members_[m];
    const Axis lane = points_of(member).back();
    PointPrinter printer = printer_for(member, lane.name);
    const std::string value = printer.wide(products_[m]->fixed);
    out_.add(fmt::format("if (part{0}.row == 0) {{", run));
    out_.add(fmt::format("float* to = p_{} + part{}.first * {};", member.name, run,
                         product(member.reduce_axes)));
    out_.add(fmt::format(
        "for (int64_t panel = part{0}.first; panel < part{0}.end; panel += qr::kPanel) {{", run));
    for (const Axis& axis : member.reduce_axes) open_loop(axis);
    for (const std::string& line : printer.invariants()) out_.add(line);
    out_.add(
        fmt::format("qr::pack(to, panel, {}, [&](auto w, const int64_t {}) "
                    "__attribute__((always_inline)) {{ return {}; }});",
                    c_int(program_, lane.extent), axis_id(lane.name), value));
    out_.add("to += qr::kPanel;");
    close(member.reduce_axes.size() + 2);
  }

  void open_loop(const Axis& axis) {
    out_.add(fmt::format("for (int64_t {0} = 0; {0} < {1}; ++{0}) {{", axis_id(axis.name),
                         c_int(program_, axis.extent)));
  }
  void close(size_t count) {
    for (size_t i = 0; i < count; ++i) out_.add("}");
  }

  /// The axes of a row, all points but the last, from its number.
  void print_row_axes(const std::vector<Axis>& points, const std::string& row) {
    if (points.size() < 2) return;
    out_.add(fmt::format("int64_t rest = {};", row));
    for (size_t d = points.size() - 1; d-- > 0;) {
      const std::string axis = axis_id(points[d].name);
      if (d == 0) {
        out_.add(fmt::format("[[maybe_unused]] const int64_t {} = rest;", axis));
        continue;
      }
      const std::string extent = c_int(program_, points[d].extent);
      out_.add(fmt::format("[[maybe_unused]] const int64_t {} = rest % {};", axis, extent));
      out_.add(fmt::format("rest /= {};", extent));
    }
  }

  std::vector<IntExpr> own_indices(const Statement& statement) const {
    std::vector<IntExpr> indices;
    for (const Axis& axis : statement.axes) indices.push_back(ir::int_axis(axis.name));
    return memory_indices(statement.name, std::move(indices));
  }

  std::string offset(const Statement& statement) const {
    return c_offset(program_, memory_shape(statement.name), own_indices(statement));
  }

  /// The distance in memory between neighbours along the last point axis.
  std::string stride(const Statement& statement, const std::string& lane) const {
    const auto found =
        coefficient(flat_offset(memory_shape(statement.name), own_indices(statement)), lane);
    return c_int(program_, found ? *found : ir::int_constant(1));
  }

  void print_member(size_t m, size_t run) {
    const Statement& member = members_[m];
    out_.add("// " + member.name);
    out_.add("{");
    if (products_[m]) {
      print_product(m, run);
    } else {
      print_points(member, run);
    }
    out_.add("}");
  }

  void print_product(size_t m, size_t run);
  void print_operand(size_t m);
  void print_points(const Statement& member, size_t run);
  void print_single(const Statement& member);

  const Program& program_;
  const Group& group_;
  int number_;
  ir::Recurrence recurrence_;
  std::vector<Statement> members_;
  std::vector<std::string> cycled_;  ///< tensors of which some steps are kept
  std::vector<std::optional<Product>> products_;
  std::vector<std::string> stored_;
  Lines out_;
};

bool whole_axis(const Statement& reader, const IntExpr& index, const Axis& of) {
  for (const auto* axes : {&reader.axes, &reader.reduce_axes}) {
    for (const Axis& axis : *axes) {
      if (index == ir::int_axis(axis.name) && axis.extent == of.extent) return true;
    }
  }
  return false;
}

/// Whether a statement is kept for some steps only: nobody else reads it, and every read with an
/// `else` leaves it along the steps alone.
bool RecurrencePrinter::cycles(int statement) const {
  constexpr int64_t kMostSlots = 16;
  const Statement& made = program_.statements[static_cast<size_t>(statement)];
  if (std::ranges::find(stored_, made.name) != stored_.end() || slots() > kMostSlots) return false;
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

/// The expression with `else` of cycled tensors as selections by step: places are always inside.
Expr RecurrencePrinter::guarded(const Expr& in) const {
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

std::optional<Product> RecurrencePrinter::product_of(const Statement& s) const {
  const std::vector<Axis> points = points_of(s);
  const bool sum = s.kind == Statement::Kind::kReduce && s.monoid == ir::Monoid::kSum;
  // Vectors of results are stored in one piece.
  if (!sum || points.empty() || s.axes.back().name != points.back().name) return std::nullopt;
  const std::string& lane = points.back().name;
  std::vector<const Expr*> list;
  factors(s.body, &list);
  std::optional<Expr> fixed, moving;
  for (const Expr* factor : list) {
    bool same = true;
    for (const std::string& axis : ir::axes_of(*factor)) {
      same = same && (axis == lane || std::ranges::any_of(s.reduce_axes, [&](const Axis& each) {
                        return each.name == axis;
                      }));
    }
    for (const std::string& tensor : ir::tensors_of(*factor)) {
      const int made = program_.statement_index(tensor);
      same = same && !recurrence_.holds(made);
    }
    const bool lanes = ir::uses_axis(*factor, lane);
    if (lanes && !same) return std::nullopt;
    std::optional<Expr>& into = lanes ? fixed : moving;
    into = into ? ir::apply(ir::Op::kMul, {std::move(*into), *factor}) : *factor;
  }
  if (!fixed || !moving) return std::nullopt;
  return Product{std::move(*fixed), std::move(*moving)};
}

/// A block of rows at a time: their operands are gathered, then multiplied by every panel.
void RecurrencePrinter::print_product(size_t m, size_t run) {
  const Statement& member = members_[m];
  const std::string part = fmt::format("part{}", run);
  out_.add(fmt::format("const int64_t terms = {};", product(member.reduce_axes)));
  out_.add(fmt::format("float* const left = x_{} + me.self * qr::kRows * terms;", member.name));
  out_.add(fmt::format("const int64_t all = {0}.rows_end - {0}.row;", part));
  out_.add("const int64_t blocks = (all + qr::kRows - 1) / qr::kRows;");
  out_.add("for (int64_t block = 0; block < blocks; ++block) {");
  out_.add(fmt::format("const int64_t first = {0}.row + all * block / blocks;", part));
  out_.add(fmt::format("const int64_t end = {0}.row + all * (block + 1) / blocks;", part));
  print_operand(m);
  const std::vector<Axis> points = points_of(member);
  out_.add("float* rows[qr::kRows];");
  out_.add("for (int64_t row = first; row < end; ++row) {");
  print_row_axes(points, "row");
  out_.add(fmt::format("[[maybe_unused]] const int64_t {} = 0;", axis_id(points.back().name)));
  out_.add(fmt::format("rows[row - first] = {} + {};", tensor_id(member.name), offset(member)));
  out_.add("}");
  out_.add(fmt::format("for (int64_t panel = {0}.first; panel < {0}.end; panel += qr::kPanel) {{",
                       part));
  out_.add(
      fmt::format("qr::multiply_rows<qr::kRows>(end - first, left, p_{} + panel * terms, "
                  "terms, [&](int r, int v, qv sum) {{",
                  member.name));
  out_.add(fmt::format("qr::store(rows[r], panel + v * QN, {}.end, sum);", part));
  out_.add("});");
  close(2);
}

void RecurrencePrinter::print_operand(size_t m) {
  const Statement& member = members_[m];
  out_.add("for (int64_t row = first; row < end; ++row) {");
  print_row_axes(points_of(member), "row");
  const Axis lane = member.reduce_axes.back();
  for (const Axis& axis : member.reduce_axes) {
    if (axis.name != lane.name) open_loop(axis);
  }
  std::vector<IntExpr> shape, indices;
  for (const Axis& axis : member.reduce_axes) {
    shape.push_back(axis.extent);
    indices.push_back(ir::int_axis(axis.name));
  }
  PointPrinter printer = printer_for(member, lane.name);
  const std::string value = printer.wide(products_[m]->moving);
  for (const std::string& line : printer.invariants()) out_.add(line);
  out_.add(
      fmt::format("q_loop<1>(QFull{{}}, 0, {}, [&](auto w, const int64_t {}, auto) "
                  "__attribute__((always_inline)) {{",
                  c_int(program_, lane.extent), axis_id(lane.name)));
  out_.add(fmt::format("q_st(w, left + (row - first) * terms + {}, {});",
                       c_offset(program_, shape, indices), value));
  out_.add("});");
  close(member.reduce_axes.size());
}

/// A map or reduction, lanes along the last of its points.
void RecurrencePrinter::print_points(const Statement& member, size_t run) {
  const std::vector<Axis> points = points_of(member);
  if (points.empty()) return print_single(member);
  const std::string lane = points.back().name, part = fmt::format("part{}", run);
  const bool reduces = member.kind == Statement::Kind::kReduce;
  PointPrinter printer = printer_for(member, lane);
  const std::string value = printer.wide(member.body);
  out_.add(fmt::format("for (int64_t row = {0}.row; row < {0}.rows_end; ++row) {{", part));
  print_row_axes(points, "row");
  if (!reduces) {
    for (const std::string& line : printer.invariants()) out_.add(line);
  }
  out_.add(
      fmt::format("q_loop<{}>(QFull{{}}, {}.first, {}.end, [&](auto w, const int64_t {}, "
                  "auto) __attribute__((always_inline)) {{",
                  reduces ? 1 : 2, part, part, axis_id(lane)));
  if (reduces) {
    const std::string op = monoid_struct(member.monoid);
    out_.add(fmt::format("auto sum = q_wide(w, {}::id());", op));
    for (const Axis& axis : member.reduce_axes) open_loop(axis);
    for (const std::string& line : printer.invariants()) out_.add(line);
    out_.add(fmt::format("sum = {}::op(sum, {});", op, value));
    close(member.reduce_axes.size());
  }
  const std::string to = fmt::format("{} + {}", tensor_id(member.name), offset(member));
  const std::string made = reduces ? "sum" : value;
  out_.add(lane == member.axes.back().name
               ? fmt::format("q_st(w, {}, {});", to, made)
               : fmt::format("q_st_strided(w, {}, {}, {});", to, stride(member, lane), made));
  out_.add("});");
  out_.add("}");
}

/// One value a step: lanes along the last reduced axis, where there is one.
void RecurrencePrinter::print_single(const Statement& member) {
  out_.add("if (me.self == 0) {");
  std::string result;
  if (member.kind == Statement::Kind::kMap) {
    result = printer_for(member, "").value(member.body).code;
  } else {
    const Axis lane = member.reduce_axes.back();
    const std::string op = monoid_struct(member.monoid);
    PointPrinter printer = printer_for(member, lane.name);
    const std::string value = printer.wide(member.body);
    out_.add(
        fmt::format("qv sum[4] = {{q_splat({0}::id()), q_splat({0}::id()), q_splat({0}::id()), "
                    "q_splat({0}::id())}};",
                    op));
    for (const Axis& axis : member.reduce_axes) {
      if (axis.name != lane.name) open_loop(axis);
    }
    for (const std::string& line : printer.invariants()) out_.add(line);
    out_.add(
        fmt::format("q_loop<4>(QFull{{}}, 0, {}, [&](auto w, const int64_t {}, auto u) "
                    "__attribute__((always_inline)) {{",
                    c_int(program_, lane.extent), axis_id(lane.name)));
    out_.add(fmt::format("qv& own = sum[decltype(u)::v];"));
    out_.add(fmt::format("own = {0}::op(own, q_keep(w, {1}, {0}::id()));", op, value));
    out_.add("});");
    close(member.reduce_axes.size() - 1);
    result = fmt::format("q_across<{0}>(q_fold<{0}>(sum))", op);
  }
  out_.add(
      fmt::format("q_st(QOne{{}}, {} + {}, {});", tensor_id(member.name), offset(member), result));
  out_.add("}");
}

}  // namespace

std::string emit_recurrence_group(const Program& program, const Group& group, int group_number) {
  return RecurrencePrinter(program, group, group_number).print();
}

}  // namespace quern
