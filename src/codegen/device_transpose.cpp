// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_transpose.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/group.h"
#include "codegen/lines.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Program;
using ir::Statement;

constexpr int kTile = 32, kRows = 8;  ///< a block: kTile by kRows threads

/// The load that walks along `axis`, which is not the last of the statement.
struct Crossing {
  Expr load;
  size_t axis = 0;
};

std::optional<Crossing> crossing_of(const Program& program, const Statement& statement) {
  if (statement.kind != Statement::Kind::kMap || statement.type != DType::kF32 ||
      statement.axes.size() < 2) {
    return std::nullopt;
  }
  for (const Expr* load : ir::loads_of(statement.body)) {
    if (!load->args.empty() || load->indices.empty()) continue;
    if (program.type_of(load->name) != DType::kF32) continue;
    for (size_t a = 0; a + 1 < statement.axes.size(); ++a) {
      if (load->indices.back() == ir::int_axis(statement.axes[a].name) &&
          ir::uses_axis(ir::load(load->name, load->indices), statement.axes.back().name)) {
        return Crossing{*load, a};
      }
    }
  }
  return std::nullopt;
}

/// A select may keep the load from happening: then it cannot be done ahead for a whole tile.
bool has_select(const Expr& expr) {
  if (expr.kind == Expr::Kind::kOp && expr.op == ir::Op::kSelect) return true;
  return std::any_of(expr.args.begin(), expr.args.end(), has_select);
}

std::optional<Statement> only_statement(const Program& program, const Group& group) {
  const std::vector<Statement> statements = inline_group(program, group);
  if (statements.size() != 1 || has_select(statements[0].body)) return std::nullopt;
  return statements[0];
}

std::string tile_body(const Program& program, const Statement& statement,
                      const Crossing& crossing) {
  const size_t r = crossing.axis, c = statement.axes.size() - 1;
  const DeviceText text(program);
  const std::string rows = text.index(statement.axes[r].extent);
  const std::string columns = text.index(statement.axes[c].extent);
  const std::string row = axis_id(statement.axes[r].name), column = axis_id(statement.axes[c].name);
  Lines out;
  out.add(fmt::format("Q_SHARED float q_tile[{}];", kTile * (kTile + 1)));
  out.add(fmt::format("const q_int q_tiles_r = ({} + {}) / {};", rows, kTile - 1, kTile));
  out.add(fmt::format("const q_int q_tiles_c = ({} + {}) / {};", columns, kTile - 1, kTile));
  out.add(fmt::format("const q_int q_c0 = (q_int)(q_block() % q_tiles_c) * {};", kTile));
  out.add(
      fmt::format("const q_int q_r0 = (q_int)(q_block() / q_tiles_c % q_tiles_r) * {};", kTile));
  out.add("const q_int q_rest = (q_int)(q_block() / q_tiles_c / q_tiles_r); (void)q_rest;");
  std::vector<std::string> names;
  std::vector<IntExpr> extents, point;
  for (size_t a = 0; a < statement.axes.size(); ++a) {
    point.push_back(ir::int_axis(statement.axes[a].name));
    if (a == r || a == c) continue;
    names.push_back(axis_id(statement.axes[a].name));
    extents.push_back(statement.axes[a].extent);
  }
  out.add_lines(decode_position(text, "q_rest", names, extents));
  out.add(fmt::format("const int q_x = q_thread() % {0}, q_y = q_thread() / {0};", kTile));
  auto loop = [&](const char* along_r, const char* along_c) {
    out.add("#pragma unroll");
    out.add(fmt::format("for (int q_s = q_y; q_s < {}; q_s += {}) {{", kTile, kRows));
    out.add(
        fmt::format("const q_int {} = q_r0 + {}, {} = q_c0 + {};", row, along_r, column, along_c));
    out.add(fmt::format("if ({} < {} && {} < {}) {{", row, rows, column, columns));
  };
  loop("q_x", "q_s");
  out.add(fmt::format("q_tile[q_s * {} + q_x] = {}[{}];", kTile + 1, tensor_id(crossing.load.name),
                      text.offset(crossing.load.name, crossing.load.indices)));
  out.add_lines("}\n}\nq_barrier();");
  loop("q_s", "q_x");
  const DeviceText from_tile(program, false, [&](const Expr& load) -> std::optional<std::string> {
    if (load != crossing.load) return std::nullopt;
    return fmt::format("q_tile[q_x * {} + q_s]", kTile + 1);
  });
  out.add(fmt::format("{}[{}] = {};", tensor_id(statement.name), text.offset(statement.name, point),
                      from_tile.value(statement.body)));
  out.add_lines("}\n}");
  return out.text();
}

}  // namespace

bool transposes(const Program& program, const Group& group) {
  const std::optional<Statement> statement = only_statement(program, group);
  return statement && crossing_of(program, *statement);
}

Result<void> emit_device_transpose(const Program& program, const Group& group, int number,
                                   DeviceProgram* made) {
  if (!transposes(program, group)) {
    return Error{ErrorKind::kInput, "the group does not read along another axis than it writes",
                 ""};
  }
  const Statement statement = *only_statement(program, group);
  const Crossing crossing = *crossing_of(program, statement);
  DeviceKernel kernel;
  kernel.name = fmt::format("g{}_{}", number, statement.name);
  kernel.threads = kTile * kRows;
  kernel.blocks = ir::int_constant(1);
  for (size_t a = 0; a < statement.axes.size(); ++a) {
    const bool cut = a == crossing.axis || a + 1 == statement.axes.size();
    const IntExpr extent = without_lets(program, statement.axes[a].extent);
    kernel.blocks =
        std::move(kernel.blocks) * (cut ? ceil_div(extent, ir::int_constant(kTile)) : extent);
  }
  kernel.reads = ir::tensors_of(statement.body);
  kernel.writes = {statement.name};
  kernel.body = tile_body(program, statement, crossing);
  made->kernels.push_back(std::move(kernel));
  return {};
}

}  // namespace quern
