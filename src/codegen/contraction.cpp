// SPDX-License-Identifier: Apache-2.0
#include "codegen/contraction.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "codegen/contraction_match.h"
#include "codegen/contraction_tables.h"
#include "codegen/group.h"
#include "codegen/tile_expr.h"

namespace quern {

using ir::Axis;
using ir::Expr;
using ir::IntExpr;

namespace {

Error not_a_contraction(const std::string& what) {
  return Error{ErrorKind::kInput, fmt::format("contraction group: {}", what), ""};
}

/// Prints one contraction group.
class Printer {
 public:
  Printer(const ir::Program& program, const Group& group, int number)
      : program_(program), group_(group), number_(number) {}

  Result<std::string> print() {
    statements_ = inline_group(program_, group_);
    QUERN_TRY(match());
    const std::string a = operand(c_.a, c_.m, Dim::kM);
    const std::string b = operand(c_.b, c_.n, Dim::kN);
    QUERN_ASSIGN(std::string epilogue, print_epilogue());
    return assemble(a, b, epilogue);
  }

 private:
  Result<void> match() {
    const std::string& root = program_.statements[static_cast<size_t>(group_.root)].name;
    for (size_t i = 0; i < statements_.size(); ++i) {
      if (statements_[i].name == root) root_ = i;
    }
    if (root_ == statements_.size()) return not_a_contraction("its root is not in it");
    auto found = match_contraction(program_, statements_[root_], group_.param("phase", 1) != 0);
    if (!found) return not_a_contraction(root + " is not a sum of products");
    if (root_ != 0) return not_a_contraction("statements before " + root + " must be inlined");
    c_ = std::move(*found);
    tables_ = Tables(program_, c_);
    return {};
  }

  /// Defines the packer of one operand and returns its name.
  std::string operand(const Operand& operand, const std::vector<Axis>& own, Dim dim) {
    const char* rows = dim == Dim::kM ? "MR" : "NR";
    const std::string name = dim == Dim::kM ? "q_pack_a" : "q_pack_b";
    if (auto view = view_of(operand, own, dim)) {
      return fmt::format("  const qg::ViewPacker<q_tile::{}, {}> {}{{{{{}}}}};\n", rows,
                         view->second, name, view->first);
    }
    const std::string element = elementwise(operand, dim);
    return fmt::format(
        "  const auto {0}_at = {1};\n"
        "  const qg::ElementPacker<q_tile::{2}, decltype({0}_at)> {0}{{{0}_at}};\n",
        name, element, rows);
  }

  /// Initialisers of a `qg::View` and its number of guards, where the operand is a guarded load.
  std::optional<std::pair<std::string, int>> view_of(const Operand& operand,
                                                     const std::vector<Axis>& own, Dim dim) {
    const Expr& load = operand.expr;
    if (load.kind != Expr::Kind::kLoad || !is_zero_padded(load)) return std::nullopt;
    auto offset = separate(offset_of(program_, load.name, load.indices), own, c_.k);
    if (!offset) return std::nullopt;
    std::vector<GuardExpr> guards;
    if (!guards_of(operand, guards)) return std::nullopt;
    std::vector<Parts> parts;
    for (const GuardExpr& guard : guards) {
      auto split = separate(guard.coordinate, own, c_.k);
      if (!split) return std::nullopt;
      parts.push_back(*split);
    }
    std::string text = fmt::format(
        "{}, {}, {}, {}, {{", tensor_id(load.name), tables_.add(Dim::kBatch, (*offset)[0]),
        tables_.add_runs(dim, (*offset)[1]), tables_.add_runs(Dim::kK, (*offset)[2]));
    for (size_t g = 0; g < guards.size(); ++g) {
      const std::string extent =
          guards[g].extent ? c_int(program_, *guards[g].extent) : "INT64_MAX / 4";
      text +=
          fmt::format("{}{{{}, {}, {}, {}}}", g ? ", " : "", tables_.add(Dim::kBatch, parts[g][0]),
                      tables_.add(dim, parts[g][1]), tables_.add(Dim::kK, parts[g][2]), extent);
    }
    return std::pair{text + "}", static_cast<int>(guards.size())};
  }

  static bool is_zero_padded(const Expr& load) {
    return load.args.empty() ||
           (load.args[0].kind == Expr::Kind::kConstant && load.args[0].value == 0);
  }

  bool guards_of(const Operand& operand, std::vector<GuardExpr>& guards) const {
    const Expr& load = operand.expr;
    const auto shape = program_.shape_of(load.name);
    for (size_t d = 0; d < load.indices.size() && !load.args.empty(); ++d) {
      if (!always_inside(load.indices[d], shape[d])) guards.push_back({load.indices[d], shape[d]});
    }
    for (const Expr& condition : operand.conditions) {
      auto forms = nonnegative_form(condition);
      if (!forms) return false;
      for (IntExpr& form : *forms) guards.push_back({std::move(form), std::nullopt});
    }
    return guards.size() <= 6;
  }

  bool always_inside(const IntExpr& index, const IntExpr& extent) const {
    if (index.kind != IntExpr::Kind::kAxis) return false;
    for (const auto* axes : {&c_.batch, &c_.m, &c_.n, &c_.k}) {
      for (const Axis& axis : *axes) {
        if (axis.name == index.name) return axis.extent == extent;
      }
    }
    return false;
  }

  std::string elementwise(const Operand& operand, Dim dim) {
    std::string text = "[&](int64_t q_b, int64_t q_o, int64_t q_k) -> float {\n";
    text += tables_.decode(Dim::kBatch, "q_b") + tables_.decode(dim, "q_o") +
            tables_.decode(Dim::kK, "q_k");
    for (const Expr& condition : operand.conditions) {
      text += fmt::format("    if (!({})) return 0.0f;\n", scalar_text(program_, condition));
    }
    return text + fmt::format("    return {};\n  }}", scalar_text(program_, operand.expr));
  }

  Result<std::string> print_epilogue() {
    TileExpr tile(program_, c_, tables_);
    const std::vector<std::string> writes = group_writes(program_, group_);
    std::string text;
    for (size_t i = root_; i < statements_.size(); ++i) {
      const ir::Statement& statement = statements_[i];
      if (i == root_) {
        text += tile.define_root(statement);
      } else {
        QUERN_ASSIGN(std::string line, tile.define(statement));
        text += line;
      }
      if (std::find(writes.begin(), writes.end(), statement.name) == writes.end()) continue;
      QUERN_ASSIGN(std::string line, tile.store(statement));
      text += line;
    }
    return "  const auto q_epilogue = [&](int64_t q_b, int64_t q_m) "
           "__attribute__((always_inline)) {\n    (void)q_b, (void)q_m;\n" +
           tile.row_lines() +
           "    return [=](auto q_w, int64_t q_n, qv q_v) __attribute__((always_inline)) {\n" +
           text + "    };\n  };\n";
  }

  std::string tile_type() const {
    const int64_t mr = group_.param("mr", 0), nr = group_.param("nr", 0);
    if (mr <= 0 || nr <= 0) return "qg::DefaultTile";
    return fmt::format("qg::Tile<{}, {}, {}, {}>", mr, nr,
                       std::max<int64_t>(1, group_.param("k_unroll", 4)),
                       std::max<int64_t>(0, group_.param("prefetch", 8)));
  }

  bool uses_batch(const Operand& operand) const {
    auto used = [&](const Expr& expr) {
      return std::any_of(c_.batch.begin(), c_.batch.end(),
                         [&](const Axis& axis) { return uses_axis(expr, axis.name); });
    };
    return used(operand.expr) ||
           std::any_of(operand.conditions.begin(), operand.conditions.end(), used);
  }

  std::string assemble(const std::string& a, const std::string& b, const std::string& epilogue) {
    std::string text = group_signature(program_, group_, number_) + " {\n  QUERN_SIZES;\n";
    text += fmt::format("  typedef {} q_tile;\n", tile_type());
    for (const IntExpr& divides : c_.divides) {
      text += fmt::format("  if ({} != 0) __builtin_trap();\n", c_int(program_, divides));
    }
    for (const PhaseLoop& phase : c_.phases) {
      const std::string id = size_id(phase.phase);
      text += fmt::format("  for (int64_t {0} = 0; {0} < {1}; ++{0}) {{\n", id,
                          c_int(program_, phase.stride));
    }
    text += tables_.print();
    text += a + b + epilogue;
    text += fmt::format(
        "  const qg::Plan q_plan = qg::make_plan({}, {}, {}, {}, {}, {}, q_nb, q_nm, q_nn);\n",
        group_.param("parallel", -1), group_.param("kc", 0), group_.param("mc", 0),
        group_.param("nc", 0), uses_batch(c_.a), uses_batch(c_.b));
    text += "  qg::gemm<q_tile>(q_plan, q_nb, q_nm, q_nn, q_nk, q_pack_a, q_pack_b, q_epilogue);\n";
    for (size_t i = 0; i < c_.phases.size(); ++i) text += "  }\n";
    return text + "}\n";
  }

  const ir::Program& program_;
  const Group& group_;
  int number_;
  std::vector<ir::Statement> statements_;
  size_t root_ = 0;
  Contraction c_;
  Tables tables_;
};

}  // namespace

std::vector<std::map<std::string, int64_t>> contraction_params(const ir::Program& program,
                                                               int statement,
                                                               const ir::Sizes& sizes) {
  auto c = match_contraction(program, program.statements[static_cast<size_t>(statement)]);
  if (!c) return {};
  ir::Sizes known = sizes;
  for (const PhaseLoop& phase : c->phases) known[phase.phase] = 0;
  auto extent = [&](const std::vector<Axis>& axes) {
    int64_t total = 1;
    for (const Axis& axis : axes) total *= std::max<int64_t>(1, ir::evaluate(axis.extent, known));
    return total;
  };
  const int64_t m = extent(c->m), n = extent(c->n), k = extent(c->k);
  constexpr int64_t kLanes = 16, kWholeSum = 768, kBlock = 512;
  const int64_t parts = k <= kWholeSum ? 1 : (k + kBlock - 1) / kBlock;
  std::vector<std::pair<double, std::map<std::string, int64_t>>> ranked;
  for (const auto& [mr, nr] : {std::pair<int64_t, int64_t>{14, 2},
                               {8, 3},
                               {12, 2},
                               {11, 2},
                               {13, 2},
                               {9, 3},
                               {6, 4},
                               {8, 2},
                               {16, 1}}) {
    auto used = [](int64_t total, int64_t tile) {
      const int64_t padded = (total + tile - 1) / tile * tile;
      return static_cast<double>(total) / static_cast<double>(padded);
    };
    // More sums in flight hide more of the latency and of the loads.
    const double sums = static_cast<double>(mr * nr);
    const double rate = used(m, mr) * used(n, nr * kLanes) * sums / (sums + 2);
    std::map<std::string, int64_t> params = {{"mr", mr}, {"nr", nr}, {"k_unroll", 4}};
    params["prefetch"] = nr < 3 ? 8 : 0;
    params["kc"] = (k + parts - 1) / parts;
    if (m >= n) params["mc"] = 128 / mr * mr;
    ranked.emplace_back(-rate, std::move(params));
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::map<std::string, int64_t>> out;
  for (auto& [rate, params] : ranked) out.push_back(std::move(params));
  return out;
}

bool is_contraction(const ir::Program& program, int statement) {
  return match_contraction(program, program.statements[static_cast<size_t>(statement)]).has_value();
}

Result<std::string> emit_contraction_group(const ir::Program& program, const Group& group,
                                           int group_number) {
  if (group.root < 0) return not_a_contraction("it has no root");
  return Printer(program, group, group_number).print();
}

}  // namespace quern
