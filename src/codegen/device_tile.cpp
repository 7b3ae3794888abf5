// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_tile.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/contraction_match.h"
#include "codegen/device_row.h"
#include "codegen/group.h"
#include "codegen/lines.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Axis;
using ir::Expr;
using ir::IntExpr;
using ir::Program;
using ir::Statement;

constexpr int64_t kLocalBytes = 48 << 10;  ///< what a block may use without asking

Error misfit(const std::string& what, const std::string& hint) {
  return Error{ErrorKind::kInput, what, hint};
}

struct TileParams {
  int64_t mr, nr, mc, nc, kc, stages, width, resident;
  int64_t threads() const { return mc / mr * (nc / nr); }
  /// Rows of a panel in local memory: a pad keeps them off each other's banks.
  int64_t pitch(int64_t extent) const { return extent + 4; }
  int64_t bytes() const { return 4 * stages * kc * (pitch(mc) + pitch(nc)); }
};

Result<TileParams> params_of(const Group& group) {
  TileParams p{group.param("mr", 4),
               group.param("nr", 4),
               group.param("mc", 64),
               group.param("nc", 64),
               group.param("kc", 16),
               group.param("stages", 1),
               group.param("width", 1) >= 4 ? 4 : 1,
               group.param("resident", 0)};
  if (p.mr < 1 || p.nr < 1 || p.mc % p.mr != 0 || p.nc % p.nr != 0) {
    return misfit(fmt::format("a tile of {} by {} is not made of {} by {}", p.mc, p.nc, p.mr, p.nr),
                  "mc is a multiple of mr, nc of nr");
  }
  if (p.mr * p.nr > 128) return misfit("the tile of a thread does not fit its registers", "");
  const int64_t threads = p.threads();
  if (threads < 1 || threads > 1024) {
    return misfit(fmt::format("{} threads a block", threads), "1 to 1024");
  }
  if (p.mc % 4 != 0 || p.nc % 4 != 0 || p.kc % 4 != 0 || p.kc > 512) {
    return misfit("tiles are multiples of 4", "");
  }
  if (p.bytes() > kLocalBytes) {
    return misfit(fmt::format("{} bytes of local memory", p.bytes()), "smaller mc, nc or kc");
  }
  return p;
}

/// How the tile of one operand is filled.
struct Panel {
  const char* name;  ///< "a", "b"
  const Operand* operand;
  const std::vector<Axis>* own;  ///< its dimension: m or n
  const char* extent;            ///< of that dimension
  const char* origin;            ///< of the block's tile in it
  int64_t size;                  ///< of the tile in it
  bool k_fast;                   ///< neighbours in memory are neighbours in k
  bool vector;                   ///< four neighbours may be one access
};

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

class TileKernel {
 public:
  TileKernel(const Program& program, const TileParams& params, int unroll, Contraction contraction,
             const std::vector<Statement>& statements, size_t root,
             const std::vector<std::string>& writes)
      : program_(program),
        p_(params),
        unroll_(unroll),
        c_(std::move(contraction)),
        statements_(statements),
        root_(root),
        writes_(writes),
        text_(program) {}

  Result<DeviceKernel> make(const std::string& name) {
    DeviceKernel kernel;
    kernel.name = name;
    kernel.threads = static_cast<int>(p_.threads());
    kernel.resident = static_cast<int>(p_.resident);
    kernel.blocks = element_product(program_, c_.batch) *
                    ceil_div(element_product(program_, c_.m), ir::int_constant(p_.mc)) *
                    ceil_div(element_product(program_, c_.n), ir::int_constant(p_.nc));
    for (const Statement& statement : statements_) {
      for (const std::string& read : ir::tensors_of(statement.body)) {
        const bool own = std::any_of(statements_.begin(), statements_.end(),
                                     [&](const Statement& s) { return s.name == read; });
        const bool known =
            std::find(kernel.reads.begin(), kernel.reads.end(), read) != kernel.reads.end();
        if (!own && !known) kernel.reads.push_back(read);
      }
    }
    kernel.writes = writes_;
    print_frame();
    const Panel a = panel("a", c_.a, c_.m, "q_nm", "q_m0", p_.mc);
    const Panel b = panel("b", c_.b, c_.n, "q_nn", "q_n0", p_.nc);
    if (p_.stages > 2 && copied(c_.a) && copied(c_.b)) {
      print_in_background(a, b);
    } else if (p_.stages > 1) {
      print_double_buffered(a, b);
    } else {
      print_single_buffered(a, b);
    }
    QUERN_TRY(print_results());
    kernel.body = out_.text();
    return kernel;
  }

 private:
  static std::string product(const DeviceText& text, const std::vector<Axis>& axes) {
    std::string total;
    for (const Axis& axis : axes) {
      total += (total.empty() ? "" : " * ") + text.index(axis.extent);
    }
    return total.empty() ? "1" : total;
  }

  void decode(const std::string& position, const std::vector<Axis>& axes) {
    std::vector<std::string> names;
    std::vector<IntExpr> extents;
    for (const Axis& axis : axes) {
      names.push_back(axis_id(axis.name));
      extents.push_back(axis.extent);
    }
    out_.add_lines(decode_position(text_, position, names, extents));
  }

  void print_frame() {
    out_.add(fmt::format("Q_SHARED_VECTORS float q_a[{}];", p_.stages * p_.kc * p_.pitch(p_.mc)));
    out_.add(fmt::format("Q_SHARED_VECTORS float q_b[{}];", p_.stages * p_.kc * p_.pitch(p_.nc)));
    out_.add(fmt::format("const q_int q_nm = {}, q_nn = {}, q_nk = {};", product(text_, c_.m),
                         product(text_, c_.n), product(text_, c_.k)));
    out_.add(fmt::format("const q_int q_tiles_m = (q_nm + {}) / {}, q_tiles_n = (q_nn + {}) / {};",
                         p_.mc - 1, p_.mc, p_.nc - 1, p_.nc));
    // Neighbouring blocks share rows of the first operand, then columns of the second.
    out_.add("const q_int q_tile = (q_int)(q_block() % (q_tiles_m * q_tiles_n));");
    out_.add("const q_int q_batch = (q_int)(q_block() / (q_tiles_m * q_tiles_n));");
    out_.add("(void)q_batch;");
    out_.add(fmt::format("const q_int q_m0 = q_tile / q_tiles_n * {};", p_.mc));
    out_.add(fmt::format("const q_int q_n0 = q_tile % q_tiles_n * {};", p_.nc));
    out_.add(fmt::format("const int q_row = q_thread() / {0} * {1}, q_col = q_thread() % {0};",
                         p_.nc / p_.nr, p_.mr));
    decode("q_batch", c_.batch);
    for (const Axis& axis : c_.batch) out_.add(fmt::format("(void){};", axis_id(axis.name)));
    out_.add(fmt::format("float q_acc[{}][{}];", p_.mr, p_.nr));
    out_.add("#pragma unroll");
    out_.add(fmt::format("for (int q_i = 0; q_i < {}; ++q_i) {{", p_.mr));
    out_.add("#pragma unroll");
    out_.add(fmt::format("for (int q_j = 0; q_j < {}; ++q_j) q_acc[q_i][q_j] = 0.0f;", p_.nr));
    out_.add("}");
  }

  Panel panel(const char* name, const Operand& operand, const std::vector<Axis>& own,
              const char* extent, const char* origin, int64_t size) {
    Panel panel{name, &operand, &own, extent, origin, size, false, false};
    const std::string k = c_.k.back().name, mine = own.back().name;
    panel.k_fast = unit_stride(operand.expr, k) && !unit_stride(operand.expr, mine);
    panel.vector =
        p_.width == 4 && c_.k_filters.empty() && plain_along(operand, panel.k_fast ? k : mine);
    if (panel.vector) {
      const IntExpr& inner = panel.k_fast ? c_.k.back().extent : own.back().extent;
      // Buffers begin at multiples of 16 bytes (docs/plan_format.md); their rows need not.
      out_.add(fmt::format("const bool q_fast_{} = {} % 4 == 0 && {} % 4 == 0;", name,
                           text_.index(program_.shape_of(operand.expr.name).back()),
                           text_.index(inner)));
    }
    return panel;
  }

  int64_t fetches(const Panel& panel) const {
    const int64_t items = panel.size * p_.kc / (panel.vector ? 4 : 1);
    return (items + p_.threads() - 1) / p_.threads();
  }

  /// Which element (or first of four) of the tile this thread fetches in turn `q_f`.
  void print_place(const Panel& panel) {
    const int64_t step = panel.vector ? 4 : 1;
    const int64_t fast = (panel.k_fast ? p_.kc : panel.size) / step;
    out_.add(fmt::format("const int q_item = q_f * {} + q_thread();", p_.threads()));
    out_.add(fmt::format("const int q_fast_at = q_item % {} * {}, q_slow_at = q_item / {};", fast,
                         step, fast));
    out_.add(panel.k_fast ? "const int q_kk = q_fast_at, q_mm = q_slow_at;"
                          : "const int q_mm = q_fast_at, q_kk = q_slow_at;");
  }

  /// What must hold for an element to count, over the axes; "" where all do.
  std::string condition_of(const Panel& panel) const {
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
  void print_element(const Panel& panel, const std::string& into, const std::string& own,
                     const std::string& k) {
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

  /// Fetches this thread's share of a tile at depth `k` into registers `q_f<name>`.
  void print_fetch(const Panel& panel, const std::string& k) {
    unroll();
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
    unroll();
    out_.add("for (int q_v = 0; q_v < 4; ++q_v) {");
    out_.add(panel.k_fast ? "const q_int q_own_v = q_own, q_k_v = q_k + q_v;"
                          : "const q_int q_own_v = q_own + q_v, q_k_v = q_k;");
    print_element(panel, into + "[q_v]", "q_own_v", "q_k_v");
    out_.add("}");
    out_.add("}");
    out_.add("}");
  }

  /// Writes what was fetched to local memory, `buffer` tiles on.
  void print_put(const Panel& panel, const std::string& buffer) {
    const int64_t items = panel.size * p_.kc / (panel.vector ? 4 : 1);
    const int64_t pitch = p_.pitch(panel.size);
    unroll();
    out_.add(fmt::format("for (int q_f = 0; q_f < {}; ++q_f) {{", fetches(panel)));
    print_place(panel);
    if (items % p_.threads() != 0) out_.add(fmt::format("if (q_item < {}) {{", items));
    const std::string at = fmt::format("q_{}[{} * {} + ", panel.name, buffer, p_.kc * pitch);
    for (int v = 0; v < (panel.vector ? 4 : 1); ++v) {
      const std::string element = panel.k_fast ? fmt::format("(q_kk + {}) * {} + q_mm", v, pitch)
                                               : fmt::format("q_kk * {} + q_mm + {}", pitch, v);
      out_.add(fmt::format("{}{}] = q_f{}[q_f][{}];", at, element, panel.name, v));
    }
    if (items % p_.threads() != 0) out_.add("}");
    out_.add("}");
  }

  /// Before a loop that compilers for GPUs shall unroll.
  void unroll() { out_.add(unroll_ > 1 ? "#pragma unroll" : "#pragma unroll 1"); }

  void declare_fetched(const Panel& panel) {
    out_.add(fmt::format("float q_f{}[{}][{}];", panel.name, fetches(panel), panel.vector ? 4 : 1));
  }

  /// Column of the block's tile that is this thread's `j`-th: groups of four lie apart, so that
  /// neighbouring threads read neighbouring local memory.
  std::string column(const std::string& j) const {
    if (p_.nr % 4 != 0) return fmt::format("q_col * {} + {}", p_.nr, j);
    return fmt::format("{0} / 4 * {1} + q_col * 4 + {0} % 4", j, p_.nc / p_.nr * 4);
  }

  void print_multiply(const std::string& buffer) {
    const int64_t pitch_a = p_.pitch(p_.mc), pitch_b = p_.pitch(p_.nc);
    out_.add(fmt::format("#pragma unroll {}", unroll_));
    out_.add(fmt::format("for (int q_kk = 0; q_kk < {}; ++q_kk) {{", p_.kc));
    out_.add(fmt::format("float q_x[{}], q_y[{}];", p_.mr, p_.nr));
    out_.add("#pragma unroll");
    out_.add(fmt::format(
        "for (int q_i = 0; q_i < {}; ++q_i) q_x[q_i] = q_a[{} * {} + q_kk * {} + q_row + q_i];",
        p_.mr, buffer, p_.kc * pitch_a, pitch_a));
    out_.add("#pragma unroll");
    out_.add(
        fmt::format("for (int q_j = 0; q_j < {}; ++q_j) q_y[q_j] = q_b[{} * {} + q_kk * {} + {}];",
                    p_.nr, buffer, p_.kc * pitch_b, pitch_b, column("q_j")));
    out_.add("#pragma unroll");
    out_.add(fmt::format("for (int q_i = 0; q_i < {}; ++q_i) {{", p_.mr));
    out_.add("#pragma unroll");
    out_.add(fmt::format(
        "for (int q_j = 0; q_j < {}; ++q_j) q_acc[q_i][q_j] += q_x[q_i] * q_y[q_j];", p_.nr));
    out_.add("}");
    out_.add("}");
  }

  void print_single_buffered(const Panel& a, const Panel& b) {
    out_.add(fmt::format("for (q_int q_k0 = 0; q_k0 < q_nk; q_k0 += {}) {{", p_.kc));
    for (const Panel* panel : {&a, &b}) {
      out_.add("{");
      declare_fetched(*panel);
      print_fetch(*panel, "q_k0");
      print_put(*panel, "0");
      out_.add("}");
    }
    out_.add("q_barrier();");
    print_multiply("0");
    out_.add("q_barrier();");
    out_.add("}");
  }

  /// Whether an operand is memory as it is, and not computed as it is loaded.
  static bool copied(const Operand& operand) {
    return operand.expr.kind == Expr::Kind::kLoad && operand.expr.args.empty();
  }

  /// `q_in`: whether an element (or four) exists, `q_from`: where it is.
  void print_source(const Panel& panel, const std::string& own, const std::string& k) {
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

  /// Asks for this thread's share of the tile at depth `k` to be copied to local memory.
  void print_copy(Panel panel, const std::string& k, const std::string& buffer) {
    // Four neighbours in k lie in four rows of local memory: they are copied one by one.
    panel.vector = panel.vector && !panel.k_fast;
    const int64_t items = panel.size * p_.kc / (panel.vector ? 4 : 1);
    const int64_t pitch = p_.pitch(panel.size);
    const auto copy = [&](int bytes, const std::string& own, const std::string& place) {
      print_source(panel, own, "q_k");
      out_.add(
          fmt::format("q_copy{0}(&q_{1}[{2} * {3} + q_kk * {4} + {5}], {6} + q_from, "
                      "q_in ? {7} : 0);",
                      bytes, panel.name, buffer, p_.kc * pitch, pitch, place,
                      tensor_id(panel.operand->expr.name), bytes));
    };
    unroll();
    out_.add(fmt::format("for (int q_f = 0; q_f < {}; ++q_f) {{", fetches(panel)));
    print_place(panel);
    if (items % p_.threads() != 0) out_.add(fmt::format("if (q_item < {}) {{", items));
    out_.add(fmt::format("const q_int q_own = {} + q_mm, q_k = {} + q_kk;", panel.origin, k));
    if (panel.vector) {
      out_.add(fmt::format("if (q_fast_{}) {{", panel.name));
      copy(16, "q_own", "q_mm");
      out_.add("} else {");
      unroll();
      out_.add("for (int q_v = 0; q_v < 4; ++q_v) {");
      out_.add("const q_int q_own_v = q_own + q_v;");
      copy(4, "q_own_v", "q_mm + q_v");
      out_.add_lines("}\n}");
    } else {
      copy(4, "q_own", "q_mm");
    }
    if (items % p_.threads() != 0) out_.add("}");
    out_.add("}");
  }

  /// Copies to local memory are under way for all tiles but the one that is multiplied.
  void print_in_background(const Panel& a, const Panel& b) {
    const int64_t ahead = p_.stages - 1;
    unroll();
    out_.add(fmt::format("for (int q_s = 0; q_s < {}; ++q_s) {{", ahead));
    for (const Panel* panel : {&a, &b}) {
      print_copy(*panel, fmt::format("q_s * {}", p_.kc), "q_s");
    }
    out_.add("q_copy_commit();");
    out_.add("}");
    out_.add(fmt::format("int q_now = 0, q_next = {};", ahead));
    out_.add(fmt::format("for (q_int q_k0 = 0; q_k0 < q_nk; q_k0 += {}) {{", p_.kc));
    out_.add(fmt::format("Q_COPY_WAIT({});", ahead - 1));
    out_.add("q_barrier();");
    out_.add(fmt::format("const q_int q_coming = q_k0 + {};", ahead * p_.kc));
    out_.add("if (q_coming < q_nk) {");
    for (const Panel* panel : {&a, &b}) print_copy(*panel, "q_coming", "q_next");
    out_.add("}");
    out_.add("q_copy_commit();");
    print_multiply("q_now");
    out_.add(fmt::format("q_now = q_now == {0} ? 0 : q_now + 1;", ahead));
    out_.add(fmt::format("q_next = q_next == {0} ? 0 : q_next + 1;", ahead));
    out_.add("}");
  }

  /// The next tile is on its way to registers while this one is multiplied.
  void print_double_buffered(const Panel& a, const Panel& b) {
    for (const Panel* panel : {&a, &b}) {
      declare_fetched(*panel);
      print_fetch(*panel, "0");
      print_put(*panel, "0");
    }
    out_.add("q_barrier();");
    out_.add("int q_now = 0;");
    out_.add(fmt::format("for (q_int q_k0 = {0}; q_k0 < q_nk + {0}; q_k0 += {0}) {{", p_.kc));
    out_.add("if (q_k0 < q_nk) {");
    print_fetch(a, "q_k0");
    print_fetch(b, "q_k0");
    out_.add("}");
    print_multiply("q_now");
    out_.add("if (q_k0 < q_nk) {");
    print_put(a, "(1 - q_now)");
    print_put(b, "(1 - q_now)");
    out_.add("}");
    out_.add("q_barrier();");
    out_.add("q_now = 1 - q_now;");
    out_.add("}");
  }

  Result<void> print_results() {
    unroll();
    out_.add(fmt::format("for (int q_i = 0; q_i < {}; ++q_i) {{", p_.mr));
    out_.add("const q_int q_m = q_m0 + q_row + q_i;");
    out_.add("if (q_m < q_nm) {");
    decode("q_m", c_.m);
    const Statement& root = statements_[root_];
    const int64_t group = stores_vectors(root) ? 4 : 1;
    unroll();
    out_.add(fmt::format("for (int q_g = 0; q_g < {}; q_g += {}) {{", p_.nr, group));
    if (group > 1) {
      for (const std::string& name : writes_) out_.add(fmt::format("float q_s_{}[4];", name));
    }
    out_.add("Q_UNROLL");
    out_.add(fmt::format("for (int q_j = q_g; q_j < q_g + {}; ++q_j) {{", group));
    print_point(root, column("q_j"));
    QUERN_TRY(print_epilogue(root, group > 1));
    for (int closed = 0; closed < 3; ++closed) out_.add("}");
    if (group > 1) print_vector_stores(root);
    for (int closed = 0; closed < 3; ++closed) out_.add("}");
    return {};
  }

  /// Opens two blocks in which the axes of the output stand for a column of the block's tile.
  void print_point(const Statement& root, const std::string& column) {
    out_.add(fmt::format("const q_int q_n = q_n0 + {};", column));
    out_.add("if (q_n < q_nn) {");
    decode("q_n", c_.n);
    for (size_t d = 0; d < c_.out_indices.size(); ++d) {
      out_.add(fmt::format("const q_int q_o{} = {};", d, text_.index(c_.out_indices[d])));
    }
    out_.add("{");
    for (size_t d = 0; d < root.axes.size(); ++d) {
      out_.add(fmt::format("const q_int {0} = q_o{1}; (void){0};", axis_id(root.axes[d].name), d));
    }
  }

  /// Whether neighbouring columns of a tile are neighbours in memory.
  bool stores_vectors(const Statement& root) const {
    return p_.width == 4 && p_.nr % 4 == 0 && root.type == DType::kF32 && !c_.n.empty() &&
           c_.out_indices.back() == ir::int_axis(c_.n.back().name) &&
           c_.n.back().extent == root.axes.back().extent;
  }

  /// Four neighbours lie in one row where rows are multiples of four.
  std::string whole_vectors(const Statement& root) const {
    return text_.index(root.axes.back().extent) + " % 4 == 0";
  }

  void print_vector_stores(const Statement& root) {
    out_.add(fmt::format("if ({}) {{", whole_vectors(root)));
    print_point(root, column("q_g"));
    std::vector<IntExpr> point;
    for (const Axis& axis : root.axes) point.push_back(ir::int_axis(axis.name));
    for (const std::string& name : writes_) {
      out_.add(fmt::format("q_store4({} + ({}), q_s_{});", tensor_id(name),
                           text_.offset(name, point), name));
    }
    for (int closed = 0; closed < 3; ++closed) out_.add("}");
  }

  Result<void> print_epilogue(const Statement& root, bool vectors) {
    std::vector<std::string> known;
    auto value_of = [&](const Expr& expr) {
      return DeviceText(program_, false,
                        [&](const Expr& load) -> std::optional<std::string> {
                          const bool own =
                              std::find(known.begin(), known.end(), load.name) != known.end();
                          return own ? std::optional("q_x_" + load.name) : std::nullopt;
                        })
          .value(expr);
    };
    std::vector<IntExpr> point;
    for (const Axis& axis : root.axes) point.push_back(ir::int_axis(axis.name));
    for (size_t s = root_; s < statements_.size(); ++s) {
      const Statement& statement = statements_[s];
      std::string value = "q_acc[q_i][q_j]";
      if (s == root_) {
        // Over the contraction's own axes; those of its output have the same names.
        value += " * " + value_of(c_.post);
      } else {
        QUERN_TRY(check_pointwise(statement, root, known));
        std::vector<std::string> names;
        for (const Axis& axis : statement.axes) names.push_back(axis.name);
        value = value_of(ir::substitute(statement.body, names, point));
      }
      out_.add(fmt::format("const float q_x_{} = {};", statement.name, value));
      known.push_back(statement.name);
      if (std::find(writes_.begin(), writes_.end(), statement.name) == writes_.end()) continue;
      const std::string plain = fmt::format("{}[{}] = q_x_{};", tensor_id(statement.name),
                                            text_.offset(statement.name, point), statement.name);
      out_.add(vectors ? fmt::format("if ({}) q_s_{}[q_j - q_g] = q_x_{}; else {}",
                                     whole_vectors(root), statement.name, statement.name, plain)
                       : plain);
    }
    return {};
  }

  /// An epilogue has the contraction's axes and reads what was made here at the same point.
  static Result<void> check_pointwise(const Statement& statement, const Statement& root,
                                      const std::vector<std::string>& known) {
    const Error fault =
        misfit(fmt::format("`{}` cannot be computed as results are stored", statement.name),
               "it must be a pointwise map over the axes of the contraction");
    if (statement.kind != Statement::Kind::kMap || statement.type != DType::kF32 ||
        statement.axes.size() != root.axes.size()) {
      return fault;
    }
    for (size_t d = 0; d < root.axes.size(); ++d) {
      if (statement.axes[d].extent != root.axes[d].extent) return fault;
    }
    for (const Expr* load : ir::loads_of(statement.body)) {
      if (std::find(known.begin(), known.end(), load->name) == known.end()) continue;
      for (size_t d = 0; d < load->indices.size(); ++d) {
        if (load->indices[d] != ir::int_axis(statement.axes[d].name)) return fault;
      }
    }
    return {};
  }

  const Program& program_;
  TileParams p_;
  int unroll_;  ///< steps in k
  Contraction c_;
  const std::vector<Statement>& statements_;
  size_t root_;
  const std::vector<std::string>& writes_;
  DeviceText text_;
  Lines out_;
};

}  // namespace

Result<void> emit_device_tiles(const Program& program, const Group& group, int number,
                               const ir::Sizes& sizes, DeviceLanguage language,
                               DeviceProgram* made) {
  const std::vector<Statement> statements = inline_group(program, group);
  const std::string& root_name = program.statements[static_cast<size_t>(group.root)].name;
  size_t root = 0;
  while (statements[root].name != root_name) ++root;
  std::optional<Contraction> contraction =
      match_contraction(program, statements[root], /*phase_split=*/false);
  // Groups that do not divide the channels evenly, at some sizes, keep to plain loops.
  if (root != 0 || !contraction || !contraction->divides.empty()) {
    return emit_device_rows(program, group, number, sizes, made);
  }
  QUERN_ASSIGN(const TileParams params, params_of(group));
  const std::vector<std::string> writes = group_writes(program, group);
  // OpenCL compilers for CPUs take long over long bodies, and gain nothing from them.
  const int unroll = language == DeviceLanguage::kCuda ? static_cast<int>(params.kc) : 1;
  QUERN_ASSIGN(
      DeviceKernel kernel,
      TileKernel(program, params, unroll, std::move(*contraction), statements, root, writes)
          .make(fmt::format("g{}_{}", number, statements.back().name)));
  made->kernels.push_back(std::move(kernel));
  return {};
}

}  // namespace quern
