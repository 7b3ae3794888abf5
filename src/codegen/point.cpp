// SPDX-License-Identifier: Apache-2.0
#include "codegen/point.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codegen/group.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Op;

std::string literal(double value) {
  const float f = static_cast<float>(value);
  if (std::isnan(f)) return "__builtin_nanf(\"\")";
  if (std::isinf(f)) return f > 0 ? "__builtin_inff()" : "(-__builtin_inff())";
  std::string text = fmt::format("{:.9g}", f);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return f < 0 ? fmt::format("({}f)", text) : text + "f";
}

/// An operand that is an integer at each point: an index, or a whole constant.
bool is_whole(const Expr& expr) {
  if (expr.kind == Expr::Kind::kIndex) return true;
  return expr.kind == Expr::Kind::kConstant && expr.value == std::floor(expr.value) &&
         std::fabs(expr.value) < 1e15;
}

IntExpr whole(const Expr& expr) {
  if (expr.kind == Expr::Kind::kIndex) return expr.indices[0];
  return ir::int_constant(static_cast<int64_t>(expr.value));
}

bool is_comparison(Op op) { return op >= Op::kLt && op <= Op::kNe; }

std::string function_name(Op op) { return std::string("q_") + ir::op_info(op).name; }

}  // namespace

bool PointPrinter::uses_lane(const IntExpr& expr) const {
  return !lane_.empty() && ir::uses_axis(expr, lane_);
}

bool PointPrinter::uses_lane(const std::vector<IntExpr>& exprs) const {
  return std::any_of(exprs.begin(), exprs.end(),
                     [&](const IntExpr& expr) { return uses_lane(expr); });
}

std::string PointPrinter::lane_variable() const { return axis_id(lane_); }

std::string PointPrinter::by_lane(const std::string& function, const std::string& code) const {
  return fmt::format("{}(w, {}, [&](auto, const int64_t {}) {{ return {}; }})", function,
                     lane_variable(), lane_variable(), code);
}

std::string PointPrinter::widened(const Text& text) const {
  return fmt::format("q_wide(w, {})", text.code);
}

std::string PointPrinter::hoisted(const Text& text) {
  if (text.lanes || guarded_ > 0 || lane_.empty()) return text.code;
  const bool trivial = text.code.find_first_of("([ ") == std::string::npos;
  if (trivial) return text.code;
  auto found = invariant_names_.find(text.code);
  if (found != invariant_names_.end()) return found->second;
  std::string name = fmt::format("{}{}", prefix_, invariants_.size());
  invariants_.push_back(fmt::format("const auto {} = {};", name, text.code));
  invariant_names_.emplace(text.code, name);
  return name;
}

std::string PointPrinter::wide(const Expr& expr) {
  const Text text = value(expr);
  return text.lanes ? text.code : fmt::format("q_wide(w, {})", hoisted(text));
}

Text PointPrinter::value(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::kConstant:
      return {literal(expr.value), false};
    case Expr::Kind::kIndex:
      return index_value(expr.indices[0]);
    case Expr::Kind::kLoad:
      return load(expr);
    case Expr::Kind::kOp:
      break;
  }
  if (ir::op_info(expr.op).boolean) return condition(expr);
  if (expr.op == Op::kSelect) return select(expr);
  if (expr.op == Op::kDiv) return division(expr);
  return operation(expr);
}

Text PointPrinter::index_value(const IntExpr& index) {
  const std::string code = fmt::format("static_cast<float>({})", c_int(program_, index));
  if (!uses_lane(index)) return {code, false};
  return {by_lane("q_lanes", code), true};
}

Text PointPrinter::compare_indices(const Expr& expr) {
  const IntExpr a = whole(expr.args[0]);
  const IntExpr b = whole(expr.args[1]);
  const std::string code =
      fmt::format("({} {} {})", c_int(program_, a), ir::op_info(expr.op).name, c_int(program_, b));
  if (!uses_lane(a) && !uses_lane(b)) return {code, false};
  return {by_lane("q_lane_mask", code), true};
}

Text PointPrinter::condition(const Expr& expr) {
  if (is_comparison(expr.op)) {
    if (is_whole(expr.args[0]) && is_whole(expr.args[1])) return compare_indices(expr);
    const Text a = value(expr.args[0]);
    const Text b = value(expr.args[1]);
    const bool lanes = a.lanes || b.lanes;
    if (!lanes)
      return {fmt::format("({} {} {})", a.code, ir::op_info(expr.op).name, b.code), false};
    return {fmt::format("({} {} {})", hoisted(a), ir::op_info(expr.op).name, hoisted(b)), true};
  }
  const Text a = value(expr.args[0]);
  if (expr.op == Op::kNot) return {fmt::format("q_not({})", a.code), a.lanes};
  const Text b = value(expr.args[1]);
  const char* name = expr.op == Op::kAnd ? "q_and" : "q_or";
  if (!a.lanes && !b.lanes) return {fmt::format("{}({}, {})", name, a.code, b.code), false};
  return {fmt::format("{}({}, {})", name, widened(a), widened(b)), true};
}

Text PointPrinter::select(const Expr& expr) {
  const Text c = condition(expr.args[0]);
  ++guarded_;
  const Text a = value(expr.args[1]);
  const Text b = value(expr.args[2]);
  --guarded_;
  const bool lanes = c.lanes || a.lanes || b.lanes;
  if (!lanes) return {fmt::format("({} ? {} : {})", c.code, a.code, b.code), false};
  if (!c.lanes) {
    return {fmt::format("({} ? {} : {})", hoisted(c), widened(a), widened(b)), true};
  }
  if (!guarding_) {
    return {fmt::format("q_select({}, {}, {})", c.code, widened(a), widened(b)), true};
  }
  auto side = [&](const Text& text) {
    return fmt::format("[&](auto w, const int64_t {}) {{ static_cast<void>(w); return {}; }}",
                       lane_variable(), widened(text));
  };
  return {fmt::format("q_choose(w, {}, {}, {}, {})", lane_variable(), side(c), side(a), side(b)),
          true};
}

Text PointPrinter::division(const Expr& expr) {
  const Text a = value(expr.args[0]);
  const Text b = value(expr.args[1]);
  if (a.lanes && !b.lanes && guarded_ == 0 && expr.args[1].kind != Expr::Kind::kConstant) {
    const std::string divisor = hoisted(b);
    const std::string reciprocal = hoisted({fmt::format("(1.0f / {})", divisor), false});
    const char* name = approximate_ ? "q_div_approximate" : "q_div";
    return {fmt::format("{}({}, {}, {})", name, a.code, divisor, reciprocal), true};
  }
  if (!a.lanes && !b.lanes) return {fmt::format("({} / {})", a.code, b.code), false};
  return {fmt::format("({} / {})", hoisted(a), hoisted(b)), true};
}

Text PointPrinter::operation(const Expr& expr) {
  std::vector<Text> args;
  bool lanes = false;
  for (const Expr& arg : expr.args) {
    args.push_back(value(arg));
    lanes = lanes || args.back().lanes;
  }
  if (lanes) {
    for (Text& arg : args) arg.code = hoisted(arg);
  }
  const ir::OpInfo& info = ir::op_info(expr.op);
  if (expr.op == Op::kNeg) return {fmt::format("(-{})", args[0].code), lanes};
  if (info.infix) return {fmt::format("({} {} {})", args[0].code, info.name, args[1].code), lanes};
  if (info.arity == 1) {
    const bool cheaper = approximate_ && expr.op == Op::kExp;
    const std::string name = function_name(expr.op) + (cheaper ? "_approximate" : "");
    return {fmt::format("{}({})", name, args[0].code), lanes};
  }
  if (lanes) {
    for (Text& arg : args) arg.code = widened(arg);
  }
  return {fmt::format("{}({}, {})", function_name(expr.op), args[0].code, args[1].code), lanes};
}

Text PointPrinter::memory_load(const Place& place) {
  const std::string address =
      fmt::format("{} + {}", place.text, c_offset(program_, place.shape, place.indices));
  if (!uses_lane(place.indices)) return {fmt::format("q_ld(QOne{{}}, {})", address), false};
  const std::optional<IntExpr> stride = coefficient(flat_offset(place.shape, place.indices), lane_);
  if (!stride) return {by_lane("q_lanes", fmt::format("q_ld(QOne{{}}, {})", address)), true};
  if (*stride == ir::int_constant(1)) return {fmt::format("q_ld(w, {})", address), true};
  return {fmt::format("q_ld_strided(w, {}, {})", address, c_int(program_, *stride)), true};
}

Text PointPrinter::guarded_load(const Expr& expr, const Place& place) {
  std::string ok = "true";
  auto within = [&](size_t d) {
    const std::string index = c_int(program_, place.indices[d]);
    return fmt::format("({} >= 0 && {} < {})", index, index, c_int(program_, place.shape[d]));
  };
  for (size_t d = 0; d < place.indices.size(); ++d) {
    guards_.emplace_back(place.indices[d], place.shape[d]);
  }
  const size_t last = place.indices.size() - 1;
  std::vector<IntExpr> row = place.indices;
  row[last] = ir::int_constant(0);
  for (size_t d = 0; d < last; ++d) ok += " && " + within(d);
  const Text other = value(expr.args[0]);
  const std::optional<IntExpr> stride = coefficient(place.indices[last], lane_);
  if (!uses_lane(place.indices) && !other.lanes) {
    return {fmt::format("(inside.v || ({} && {}) ? q_ld(QOne{{}}, {} + {}) : {})", ok, within(last),
                        place.text, c_offset(program_, place.shape, place.indices), other.code),
            false};
  }
  if (!uses_lane(row) && stride && uses_lane(place.indices[last])) {
    return {
        fmt::format("q_ld_else(inside, w, {}, {} + {}, {}, {}, {}, {})", ok, place.text,
                    c_offset(program_, place.shape, row), c_int(program_, place.indices[last]),
                    c_int(program_, *stride), c_int(program_, place.shape[last]), widened(other)),
        true};
  }
  const std::string scalar =
      fmt::format("(inside.v || ({} && {}) ? q_ld(QOne{{}}, {} + {}) : {})", ok, within(last),
                  place.text, c_offset(program_, place.shape, place.indices), other.code);
  if (!other.lanes) return {by_lane("q_lanes", scalar), true};
  // The value for places outside is that of one lane too.
  return {fmt::format("q_lanes(w, {0}, [&](auto w, const int64_t {0}) {{ return {1}; }})",
                      lane_variable(), scalar),
          true};
}

Text PointPrinter::load(const Expr& expr) {
  const Place place = resolve_(expr);
  if (place.is_variable) return {place.text, place.lanes};
  if (!expr.args.empty() && !place.indices.empty()) return guarded_load(expr, place);
  return memory_load(place);
}

namespace {

/// Every index is a whole axis of the tensor, so the load is inside whatever a select says.
bool in_bounds_by_form(const ir::Program& program, const ir::Statement& statement,
                       const Expr& load) {
  if (!load.args.empty()) return true;
  std::vector<ir::Axis> axes = statement.axes;
  axes.insert(axes.end(), statement.reduce_axes.begin(), statement.reduce_axes.end());
  const std::vector<IntExpr> shape = program.shape_of(load.name);
  for (size_t d = 0; d < load.indices.size(); ++d) {
    const bool whole = std::any_of(axes.begin(), axes.end(), [&](const ir::Axis& axis) {
      return load.indices[d] == ir::int_axis(axis.name) && axis.extent == shape[d];
    });
    if (!whole) return false;
  }
  return true;
}

bool guards(const ir::Program& program, const ir::Statement& statement, const Expr& expr) {
  if (expr.kind == Expr::Kind::kOp && expr.op == Op::kSelect) {
    for (const Expr* load : ir::loads_of(expr)) {
      if (!in_bounds_by_form(program, statement, *load)) return true;
    }
  }
  return std::any_of(expr.args.begin(), expr.args.end(),
                     [&](const Expr& arg) { return guards(program, statement, arg); });
}

}  // namespace

bool has_guarding_select(const ir::Program& program, const ir::Statement& statement) {
  return guards(program, statement, statement.body);
}

}  // namespace quern
