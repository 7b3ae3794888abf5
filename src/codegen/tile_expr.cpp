// SPDX-License-Identifier: Apache-2.0
#include "codegen/tile_expr.h"

#include <fmt/format.h>

#include <cmath>

#include "codegen/group.h"

namespace quern {

using ir::Expr;
using ir::IntExpr;
using ir::Op;

namespace {

std::string number_text(double value) {
  if (std::isnan(value)) return "__builtin_nanf(\"\")";
  if (std::isinf(value)) return value > 0 ? "__builtin_inff()" : "(-__builtin_inff())";
  std::string text = fmt::format("{:.9g}", static_cast<float>(value));
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return value < 0 ? "(" + text + "f)" : text + "f";
}

/// An operator over texts of its operands; the same for scalars and vectors but for these.
std::string op_text(Op op, const std::vector<std::string>& x, bool vector) {
  switch (op) {
    case Op::kNeg:
      return "(-" + x[0] + ")";
    case Op::kAnd:
      return fmt::format("({} {} {})", x[0], vector ? "&" : "&&", x[1]);
    case Op::kOr:
      return fmt::format("({} {} {})", x[0], vector ? "|" : "||", x[1]);
    case Op::kNot:
      return (vector ? "(~" : "(!") + x[0] + ")";
    case Op::kSelect:
      return vector ? fmt::format("q_select({}, {}, {})", x[0], x[1], x[2])
                    : fmt::format("({} ? {} : {})", x[0], x[1], x[2]);
    default:
      break;
  }
  const ir::OpInfo& info = ir::op_info(op);
  if (info.infix) return fmt::format("({} {} {})", x[0], info.name, x[1]);
  if (info.arity == 2) return fmt::format("q_{}({}, {})", info.name, x[0], x[1]);
  return fmt::format("q_{}({})", info.name, x[0]);
}

std::string inside_text(const ir::Program& program, const Expr& load) {
  const auto shape = program.shape_of(load.name);
  std::string text = "(true";
  for (size_t d = 0; d < load.indices.size(); ++d) {
    const std::string at = c_int(program, load.indices[d]);
    text += fmt::format(" && {0} >= 0 && {0} < {1}", at, c_int(program, shape[d]));
  }
  return text + ")";
}

}  // namespace

std::string scalar_text(const ir::Program& program, const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::kConstant:
      return number_text(expr.value);
    case Expr::Kind::kIndex:
      return fmt::format("static_cast<float>({})", c_int(program, expr.indices[0]));
    case Expr::Kind::kLoad: {
      std::string value = fmt::format("static_cast<float>({}[{}])", tensor_id(expr.name),
                                      c_offset(program, program.shape_of(expr.name), expr.indices));
      if (expr.args.empty()) return value;
      return fmt::format("({} ? {} : {})", inside_text(program, expr), value,
                         scalar_text(program, expr.args[0]));
    }
    case Expr::Kind::kOp:
      break;
  }
  // Whole numbers are compared as such: f32 does not hold them all.
  if (ir::op_info(expr.op).boolean && expr.args.size() == 2 && ir::op_info(expr.op).infix) {
    auto a = as_int(expr.args[0]), b = as_int(expr.args[1]);
    if (a && b) {
      return fmt::format("({} {} {})", c_int(program, *a), ir::op_info(expr.op).name,
                         c_int(program, *b));
    }
  }
  std::vector<std::string> args;
  for (const Expr& arg : expr.args) args.push_back(scalar_text(program, arg));
  return op_text(expr.op, args, false);
}

std::string TileExpr::define_root(const ir::Statement& root) {
  defined_[root.name] = c_.out_indices;
  std::string text = "q_v";
  if (!(c_.post == ir::constant(1))) {
    auto post = vector_text(c_.post);
    text = post ? fmt::format("q_v * {}", *post) : fmt::format("q_v * {}", by_lane(c_.post));
  }
  return fmt::format("    const qv q_x_{} = {};\n", root.name, text);
}

Result<std::vector<IntExpr>> TileExpr::positions(const ir::Statement& statement) const {
  std::vector<std::string> names;
  for (const ir::Axis& axis : statement.axes) names.push_back(axis.name);
  for (const Expr* load : loads_of(statement.body)) {
    auto found = defined_.find(load->name);
    if (found == defined_.end() || load->indices.size() != names.size()) continue;
    std::vector<IntExpr> by(names.size());
    size_t mapped = 0;
    for (size_t d = 0; d < names.size(); ++d) {
      for (size_t i = 0; i < names.size(); ++i) {
        if (!(load->indices[d] == ir::int_axis(names[i]))) continue;
        by[i] = found->second[d];
        ++mapped;
      }
    }
    if (mapped == names.size()) return by;
  }
  return Error{ErrorKind::kInput,
               fmt::format("{} is not pointwise in the contraction before it", statement.name), ""};
}

Result<std::string> TileExpr::define(const ir::Statement& statement) {
  if (statement.kind != ir::Statement::Kind::kMap) {
    return Error{ErrorKind::kInput, fmt::format("{} is not pointwise", statement.name), ""};
  }
  QUERN_ASSIGN(std::vector<IntExpr> by, positions(statement));
  std::vector<std::string> names;
  for (const ir::Axis& axis : statement.axes) names.push_back(axis.name);
  QUERN_ASSIGN(std::string text, vector_text(ir::substitute(statement.body, names, by)));
  defined_[statement.name] = std::move(by);
  return fmt::format("    const qv q_x_{} = {};\n", statement.name, text);
}

Result<std::string> TileExpr::store(const ir::Statement& statement) {
  const std::vector<IntExpr>& at = defined_[statement.name];
  auto parts = separate(offset_of(program_, statement.name, at), c_.m, c_.n);
  if (!parts || statement.type != DType::kF32) {
    return Error{ErrorKind::kInput, fmt::format("{} cannot be stored from a tile", statement.name),
                 ""};
  }
  return fmt::format("    qg::store_n(q_w, {}, {}, q_n, q_x_{});\n",
                     row_pointer(statement.name, *parts, true),
                     tables_.add_runs(Dim::kN, (*parts)[2]), statement.name);
}

std::string TileExpr::row_pointer(const std::string& tensor, const Parts& parts, bool stored) {
  std::string name = fmt::format("q_row{}", rows_++);
  row_lines_ +=
      fmt::format("    {}{}* const {} = {} + {}[q_b] + {}[q_m];\n", stored ? "" : "const ",
                  c_type(program_.type_of(tensor)), name, tensor_id(tensor),
                  tables_.add(Dim::kBatch, parts[0]), tables_.add(Dim::kM, parts[1]));
  return name;
}

std::string TileExpr::by_lane(const Expr& expr) {
  return fmt::format(
      "q_lanes(q_w, q_n, [&](QOne, int64_t q_l) -> float {{\n{}{}{}    return {};\n    }})",
      tables_.decode(Dim::kBatch, "q_b"), tables_.decode(Dim::kM, "q_m"),
      tables_.decode(Dim::kN, "q_l"), scalar_text(program_, expr));
}

Result<std::string> TileExpr::load_text(const Expr& expr) {
  if (auto found = defined_.find(expr.name); found != defined_.end()) {
    if (!(expr.indices == found->second)) {
      return Error{ErrorKind::kInput,
                   fmt::format("{} is read elsewhere than where it is computed", expr.name), ""};
    }
    return "q_x_" + expr.name;
  }
  for (const Expr* load : loads_of(expr)) {
    if (load != &expr && defined_.count(load->name)) {
      return Error{ErrorKind::kInput, "a fallback reads " + load->name, ""};
    }
  }
  auto parts = separate(offset_of(program_, expr.name, expr.indices), c_.m, c_.n);
  if (!parts || !expr.args.empty()) return by_lane(expr);
  return fmt::format("qg::load_n(q_w, {}, {}, q_n)", row_pointer(expr.name, *parts, false),
                     tables_.add_runs(Dim::kN, (*parts)[2]));
}

/// Whether a side of a select reads memory where the other side's lanes might not: vectors
/// evaluate both sides, which is safe only at plain positions.
bool TileExpr::guards_loads(const Expr& select) const {
  for (size_t side = 1; side < 3; ++side) {
    for (const Expr* load : loads_of(select.args[side])) {
      if (defined_.count(load->name)) continue;
      for (const IntExpr& index : load->indices) {
        const bool whole = axes_of(index).empty() || index.kind == IntExpr::Kind::kAxis;
        if (!whole && load->args.empty()) return true;
      }
    }
  }
  return false;
}

Result<std::string> TileExpr::vector_text(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::kConstant:
      return "q_splat(" + number_text(expr.value) + ")";
    case Expr::Kind::kIndex:
      return by_lane(expr);
    case Expr::Kind::kLoad:
      return load_text(expr);
    case Expr::Kind::kOp:
      break;
  }
  if (expr.op == Op::kSelect && guards_loads(expr)) {
    for (const Expr* load : loads_of(expr)) {
      if (!defined_.count(load->name)) continue;
      return Error{
          ErrorKind::kInput,
          fmt::format("a condition guards loads beside {}, which a tile cannot", load->name), ""};
    }
    return by_lane(expr);
  }
  std::vector<std::string> args;
  for (const Expr& arg : expr.args) {
    QUERN_ASSIGN(std::string text, vector_text(arg));
    args.push_back(std::move(text));
  }
  return op_text(expr.op, args, true);
}

}  // namespace quern
