// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_tile_operands.h"

#include <fmt/format.h>

#include <algorithm>

#include "schedule/rows.h"

namespace quern {

using ir::Axis;
using ir::Expr;
using ir::IntExpr;

namespace {

bool unit_stride(const Expr& expr, const std::string& axis) {
  const std::vector<const Expr*> loads = ir::loads_of(expr);
  return std::any_of(loads.begin(), loads.end(), [&](const Expr* load) {
    return !load->indices.empty() && coefficient(load->indices.back(), axis) == ir::int_constant(1);
  });
}

/// Whether four neighbours along the axis are 16 bytes of a tensor wherever its rows are aligned.
bool plain_along(const Operand& operand, const std::string& axis) {
  const Expr& load = operand.expr;
  if (load.kind != Expr::Kind::kLoad || !load.args.empty() || !operand.conditions.empty()) {
    return false;
  }
  for (size_t d = 0; d + 1 < load.indices.size(); ++d) {
    if (ir::uses_axis(load.indices[d], axis)) return false;
  }
  return !load.indices.empty() && load.indices.back() == ir::int_axis(axis);
}

/// A row of local memory holds the tile's elements at one k, or (`k_rows`) those of one m or n. On
/// tensor cores a warp reads 8 neighbours at each of 4 places in k, from 32 banks if rows lie 8
/// (or 4) banks apart.
int64_t pitch_of(const TileParams& p, int64_t size, bool k_rows) {
  if (k_rows) return p.kc + 4;
  return size + (p.tf32 > 0 ? 8 : 4);
}

int64_t floats_of(const TileParams& p, int64_t size, bool k_rows) {
  return pitch_of(p, size, k_rows) * (k_rows ? size : p.kc);
}

Result<void> check_tensor_tiles(const TileParams& p) {
  if (p.mc % (16 * p.mr) != 0 || p.nc % (8 * p.nr) != 0) {
    return misfit(fmt::format("a tile of {} by {} is not made of {} by {} fragments of 16 by 8",
                              p.mc, p.nc, p.mr, p.nr),
                  "mc is a multiple of 16 mr, nc of 8 nr");
  }
  if (p.kc % 8 != 0) return misfit(fmt::format("fragments {} deep", p.kc), "a multiple of 8");
  if (p.terms % 8 != 0 || p.kc % p.terms != 0) {
    return misfit(fmt::format("sums of {} terms in tiles {} deep", p.terms, p.kc),
                  "kc is a multiple of terms, terms of 8");
  }
  if (p.bytes() > kDynamicLocalBytes) {
    return misfit(fmt::format("{} bytes of local memory", p.bytes()), "smaller mc, nc or kc");
  }
  return {};
}

Result<void> check_ordinary_tiles(const TileParams& p) {
  if (p.mc % p.mr != 0 || p.nc % p.nr != 0) {
    return misfit(fmt::format("a tile of {} by {} is not made of {} by {}", p.mc, p.nc, p.mr, p.nr),
                  "mc is a multiple of mr, nc of nr");
  }
  if (p.mc % 4 != 0 || p.nc % 4 != 0 || p.kc % 4 != 0) {
    return misfit("tiles are multiples of 4", "");
  }
  if (p.bytes() > kLocalBytes) {
    return misfit(fmt::format("{} bytes of local memory", p.bytes()), "smaller mc, nc or kc");
  }
  return {};
}

}  // namespace

int64_t TileParams::bytes() const {
  int64_t floats = 0;
  for (const int64_t size : {mc, nc}) {
    floats += std::max(floats_of(*this, size, false), tf32 > 0 ? floats_of(*this, size, true) : 0);
  }
  return 4 * stages * floats;
}

std::string TilePanel::at(const std::string& own, const std::string& k) const {
  return k_rows ? fmt::format("({}) * {} + {}", own, pitch, k)
                : fmt::format("({}) * {} + {}", k, pitch, own);
}

Result<TileParams> tile_params_of(const Group& group) {
  TileParams p{group.param("mr", 4),
               group.param("nr", 4),
               group.param("mc", 64),
               group.param("nc", 64),
               group.param("kc", 16),
               group.param("stages", 1),
               group.param("width", 1) >= 4 ? 4 : 1,
               group.param("resident", 0),
               group.param("tf32", 0),
               std::max<int64_t>(group.param("parts", 1), 1),
               group.param("terms", 8)};
  if (p.mr < 1 || p.nr < 1) return misfit("mr and nr are at least 1", "");
  if (p.rows() * p.columns() > 128) {
    return misfit("the tile of a thread does not fit its registers", "smaller mr or nr");
  }
  if (p.kc > 512) return misfit(fmt::format("tiles {} deep", p.kc), "at most 512");
  QUERN_TRY(p.tf32 > 0 ? check_tensor_tiles(p) : check_ordinary_tiles(p));
  const int64_t threads = p.threads();
  if (threads < 1 || threads > 1024) {
    return misfit(fmt::format("{} threads a block", threads), "1 to 1024");
  }
  return p;
}

TilePanel TileOperands::panel(const char* name, const Operand& operand,
                              const std::vector<Axis>& own, const char* extent, const char* origin,
                              int64_t size) {
  TilePanel panel{name, &operand, &own, extent, origin, size, false, false, false, 0, 0};
  const std::string k = c_.k.back().name, mine = own.back().name;
  panel.k_fast = unit_stride(operand.expr, k) && !unit_stride(operand.expr, mine);
  panel.vector =
      p_.width == 4 && c_.k_filters.empty() && plain_along(operand, panel.k_fast ? k : mine);
  panel.k_rows = p_.tf32 > 0 && panel.k_fast;
  panel.pitch = pitch_of(p_, size, panel.k_rows);
  panel.floats = floats_of(p_, size, panel.k_rows);
  if (panel.vector) {
    const IntExpr& inner = panel.k_fast ? c_.k.back().extent : own.back().extent;
    // Buffers begin at multiples of 16 bytes (docs/plan_format.md); their rows need not.
    out_.add(fmt::format("const bool q_fast_{} = {} % 4 == 0 && {} % 4 == 0;", name,
                         text_.index(program_.shape_of(operand.expr.name).back()),
                         text_.index(inner)));
  }
  return panel;
}

int64_t TileOperands::declare_tiles(const TilePanel& a, const TilePanel& b) {
  const int64_t floats_a = p_.stages * a.floats, floats_b = p_.stages * b.floats;
  const int64_t bytes = 4 * (floats_a + floats_b);
  if (bytes <= kLocalBytes) {
    out_.add(fmt::format("Q_SHARED_VECTORS float q_a[{}];", floats_a));
    out_.add(fmt::format("Q_SHARED_VECTORS float q_b[{}];", floats_b));
    return 0;
  }
  out_.add("extern Q_SHARED_VECTORS float q_tiles[];");
  out_.add(fmt::format("Q_LOCAL float *const q_a = q_tiles, *const q_b = q_tiles + {};", floats_a));
  return bytes;
}

int64_t TileOperands::fetches(const TilePanel& panel) const {
  const int64_t items = panel.size * p_.kc / (panel.vector ? 4 : 1);
  return (items + p_.threads() - 1) / p_.threads();
}

/// Which element (or first of four) of the tile this thread fetches in turn `q_f`.
void TileOperands::print_place(const TilePanel& panel) {
  const int64_t step = panel.vector ? 4 : 1;
  const int64_t fast = (panel.k_fast ? p_.kc : panel.size) / step;
  out_.add(fmt::format("const int q_item = q_f * {} + q_thread();", p_.threads()));
  out_.add(fmt::format("const int q_fast_at = q_item % {} * {}, q_slow_at = q_item / {};", fast,
                       step, fast));
  out_.add(panel.k_fast ? "const int q_kk = q_fast_at, q_mm = q_slow_at;"
                        : "const int q_mm = q_fast_at, q_kk = q_slow_at;");
}

/// What must hold for an element to count, over the axes; "" where all do.
std::string TileOperands::condition_of(const TilePanel& panel) const {
  std::string condition;
  auto require = [&](const Expr& expr) {
    condition += (condition.empty() ? "" : " && ") + text_.value(expr);
  };
  for (const Expr& expr : panel.operand->conditions) require(expr);
  if (panel.operand == &c_.a) {
    for (const Expr& expr : c_.k_filters) require(expr);
  }
  return condition;
}

/// The value of one element into `into`.
void TileOperands::print_element(const TilePanel& panel, const std::string& into,
                                 const std::string& own, const std::string& k) {
  out_.add(fmt::format("{} = 0.0f;", into));
  out_.add(fmt::format("if ({} < {} && {} < q_nk) {{", own, panel.extent, k));
  decode(own, *panel.own);
  decode(k, c_.k);
  const std::string condition = condition_of(panel);
  const std::string value = text_.value(panel.operand->expr);
  out_.add(condition.empty() ? fmt::format("{} = {};", into, value)
                             : fmt::format("if ({}) {} = {};", condition, into, value));
  out_.add("}");
}

void TileOperands::print_fetch(const TilePanel& panel, const std::string& k) {
  print_unroll();
  out_.add(fmt::format("for (int q_f = 0; q_f < {}; ++q_f) {{", fetches(panel)));
  print_place(panel);
  out_.add(fmt::format("const q_int q_own = {} + q_mm, q_k = {} + q_kk;", panel.origin, k));
  const std::string into = fmt::format("q_f{}[q_f]", panel.name);
  if (!panel.vector) {
    print_element(panel, into + "[0]", "q_own", "q_k");
    out_.add("}");
    return;
  }
  out_.add(fmt::format("if (q_fast_{}) {{", panel.name));
  out_.add(fmt::format("if (q_own < {} && q_k < q_nk) {{", panel.extent));
  decode("q_own", *panel.own);
  decode("q_k", c_.k);
  out_.add(fmt::format("q_load4({}, {} + ({}));", into, tensor_id(panel.operand->expr.name),
                       text_.offset(panel.operand->expr.name, panel.operand->expr.indices)));
  out_.add("} else {");
  out_.add(fmt::format("{0}[0] = {0}[1] = {0}[2] = {0}[3] = 0.0f;", into));
  out_.add("}");
  out_.add("} else {");
  print_unroll();
  out_.add("for (int q_v = 0; q_v < 4; ++q_v) {");
  out_.add(panel.k_fast ? "const q_int q_own_v = q_own, q_k_v = q_k + q_v;"
                        : "const q_int q_own_v = q_own + q_v, q_k_v = q_k;");
  print_element(panel, into + "[q_v]", "q_own_v", "q_k_v");
  out_.add("}");
  out_.add("}");
  out_.add("}");
}

void TileOperands::print_put(const TilePanel& panel, const std::string& buffer) {
  const int64_t items = panel.size * p_.kc / (panel.vector ? 4 : 1);
  print_unroll();
  out_.add(fmt::format("for (int q_f = 0; q_f < {}; ++q_f) {{", fetches(panel)));
  print_place(panel);
  if (items % p_.threads() != 0) out_.add(fmt::format("if (q_item < {}) {{", items));
  for (int v = 0; v < (panel.vector ? 4 : 1); ++v) {
    const std::string next = fmt::format(" + {}", v);
    const std::string at =
        panel.k_fast ? panel.at("q_mm", "q_kk" + next) : panel.at("q_mm" + next, "q_kk");
    out_.add(fmt::format("q_{0}[{1} * {2} + {3}] = q_f{0}[q_f][{4}];", panel.name, buffer,
                         panel.floats, at, v));
  }
  if (items % p_.threads() != 0) out_.add("}");
  out_.add("}");
}

void TileOperands::declare_fetched(const TilePanel& panel) {
  out_.add(fmt::format("float q_f{}[{}][{}];", panel.name, fetches(panel), panel.vector ? 4 : 1));
}

bool TileOperands::copied(const Operand& operand) {
  return operand.expr.kind == Expr::Kind::kLoad && operand.expr.args.empty();
}

/// `q_in`: whether an element (or four) exists, `q_from`: where it is.
void TileOperands::print_source(const TilePanel& panel, const std::string& own,
                                const std::string& k) {
  const Expr& load = panel.operand->expr;
  out_.add(fmt::format("bool q_in = {} < {} && {} < q_nk;", own, panel.extent, k));
  out_.add("q_int q_from = 0;");
  out_.add("if (q_in) {");
  decode(own, *panel.own);
  decode(k, c_.k);
  const std::string condition = condition_of(panel);
  if (!condition.empty()) out_.add(fmt::format("q_in = {};", condition));
  out_.add(fmt::format("if (q_in) q_from = {};", text_.offset(load.name, load.indices)));
  out_.add("}");
}

void TileOperands::print_copy(TilePanel panel, const std::string& k, const std::string& buffer) {
  // Where four neighbours in k lie in four rows of local memory they are copied one by one.
  panel.vector = panel.vector && panel.k_fast == panel.k_rows;
  const int64_t items = panel.size * p_.kc / (panel.vector ? 4 : 1);
  const auto copy = [&](int bytes, const std::string& element) {
    print_source(panel, "q_own_v", "q_k_v");
    out_.add(fmt::format("q_copy{0}(&q_{1}[{2} * {3} + {4}], {5} + q_from, q_in ? {0} : 0);", bytes,
                         panel.name, buffer, panel.floats, element,
                         tensor_id(panel.operand->expr.name)));
  };
  print_unroll();
  out_.add(fmt::format("for (int q_f = 0; q_f < {}; ++q_f) {{", fetches(panel)));
  print_place(panel);
  if (items % p_.threads() != 0) out_.add(fmt::format("if (q_item < {}) {{", items));
  const auto declare = [&](const char* own, const char* next) {
    out_.add(fmt::format("const q_int q_own_v = {} + q_mm{}, q_k_v = {} + q_kk{};", panel.origin,
                         own, k, next));
  };
  if (panel.vector) {
    out_.add(fmt::format("if (q_fast_{}) {{", panel.name));
    declare("", "");
    copy(16, panel.at("q_mm", "q_kk"));
    out_.add("} else {");
    print_unroll();
    out_.add("for (int q_v = 0; q_v < 4; ++q_v) {");
    declare(panel.k_rows ? "" : " + q_v", panel.k_rows ? " + q_v" : "");
    copy(4, panel.k_rows ? panel.at("q_mm", "q_kk + q_v") : panel.at("q_mm + q_v", "q_kk"));
    out_.add_lines("}\n}");
  } else {
    declare("", "");
    copy(4, panel.at("q_mm", "q_kk"));
  }
  if (items % p_.threads() != 0) out_.add("}");
  out_.add("}");
}

void TileOperands::decode(const std::string& position, const std::vector<Axis>& axes) {
  out_.add_lines(decode_position(text_, position, axes));
}

}  // namespace quern
