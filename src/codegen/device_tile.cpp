// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_tile.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/contraction_match.h"
#include "codegen/device_row.h"
#include "codegen/device_tile_operands.h"
#include "codegen/device_tile_tensor.h"
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
        text_(program),
        operands_(program_, p_, c_, unroll > 1, out_) {}

  Result<DeviceKernel> make(const std::string& name) {
    DeviceKernel kernel;
    kernel.name = name;
    kernel.threads = static_cast<int>(p_.threads());
    kernel.resident = static_cast<int>(p_.resident);
    kernel.blocks = element_product(program_, c_.batch) *
                    ceil_div(element_product(program_, c_.m), ir::int_constant(p_.mc)) *
                    ceil_div(element_product(program_, c_.n), ir::int_constant(p_.nc));
    if (p_.parts > 1) kernel.blocks = kernel.blocks * ir::int_constant(p_.parts);
    kernel.writes = writes_;
    const TilePanel a = operands_.panel("a", c_.a, c_.m, "q_nm", "q_m0", p_.mc);
    const TilePanel b = operands_.panel("b", c_.b, c_.n, "q_nn", "q_n0", p_.nc);
    kernel.shared = operands_.declare_tiles(a, b);
    print_frame();
    if (p_.stages > 2 && TileOperands::copied(c_.a) && TileOperands::copied(c_.b)) {
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

  void print_frame() {
    out_.add(fmt::format("const q_int q_nm = {}, q_nn = {};", product(text_, c_.m),
                         product(text_, c_.n)));
    out_.add(fmt::format("const q_int q_tiles_m = (q_nm + {}) / {}, q_tiles_n = (q_nn + {}) / {};",
                         p_.mc - 1, p_.mc, p_.nc - 1, p_.nc));
    // Neighbouring blocks share rows of the first operand, then columns of the second.
    out_.add("const q_int q_tile = (q_int)(q_block() % (q_tiles_m * q_tiles_n));");
    print_terms();
    out_.add(fmt::format("const q_int q_m0 = q_tile / q_tiles_n * {};", p_.mc));
    out_.add(fmt::format("const q_int q_n0 = q_tile % q_tiles_n * {};", p_.nc));
    if (p_.tf32 > 0) {
      out_.add_lines(tensor_place(p_));
    } else {
      out_.add(fmt::format("const int q_row = q_thread() / {0} * {1}, q_col = q_thread() % {0};",
                           p_.nc / p_.nr, p_.mr));
    }
    operands_.decode("q_batch", c_.batch);
    for (const Axis& axis : c_.batch) out_.add(fmt::format("(void){};", axis_id(axis.name)));
    out_.add(fmt::format("float q_acc[{}][{}];", p_.rows(), p_.columns()));
    out_.add("#pragma unroll");
    out_.add(fmt::format("for (int q_i = 0; q_i < {}; ++q_i) {{", p_.rows()));
    out_.add("#pragma unroll");
    out_.add(
        fmt::format("for (int q_j = 0; q_j < {}; ++q_j) q_acc[q_i][q_j] = 0.0f;", p_.columns()));
    out_.add("}");
  }

  /// Which terms of the sums this block takes, of which batch.
  void print_terms() {
    const std::string outer = "(q_int)(q_block() / (q_tiles_m * q_tiles_n))";
    const std::string terms = product(text_, c_.k);
    if (p_.parts == 1) {
      out_.add(fmt::format("const q_int q_batch = {}, q_first = 0, q_nk = {};", outer, terms));
    } else {
      out_.add(fmt::format("const q_int {} = {} % {};", axis_id(kPartAxis), outer, p_.parts));
      out_.add(fmt::format("const q_int q_batch = {} / {};", outer, p_.parts));
      out_.add(fmt::format("const q_int q_share = ({0} + {1} - 1) / {1} * {2};", terms,
                           p_.parts * p_.kc, p_.kc));
      out_.add(fmt::format("const q_int q_first = {} * q_share;", axis_id(kPartAxis)));
      out_.add(fmt::format("const q_int q_nk = q_imin({}, q_first + q_share);", terms));
    }
    out_.add("(void)q_batch;");
  }

  /// Row of the block's tile that is this thread's `q_i`-th.
  std::string row() const { return p_.tf32 > 0 ? tensor_row("q_i") : "q_row + q_i"; }

  /// Column of the block's tile that is this thread's `j`-th: groups of four lie apart, so that
  /// neighbouring threads read neighbouring local memory.
  std::string column(const std::string& j) const {
    if (p_.tf32 > 0) return tensor_column(j);
    if (p_.nr % 4 != 0) return fmt::format("q_col * {} + {}", p_.nr, j);
    return fmt::format("{0} / 4 * {1} + q_col * 4 + {0} % 4", j, p_.nc / p_.nr * 4);
  }

  void print_multiply(const TilePanel& a, const TilePanel& b, const std::string& buffer) {
    if (p_.tf32 > 0) return print_tensor_multiply(p_, a, b, buffer, unroll_ > 1, &out_);
    out_.add(fmt::format("#pragma unroll {}", unroll_));
    out_.add(fmt::format("for (int q_kk = 0; q_kk < {}; ++q_kk) {{", p_.kc));
    out_.add(fmt::format("float q_x[{}], q_y[{}];", p_.mr, p_.nr));
    out_.add("#pragma unroll");
    out_.add(fmt::format(
        "for (int q_i = 0; q_i < {}; ++q_i) q_x[q_i] = q_a[{} * {} + q_kk * {} + q_row + q_i];",
        p_.mr, buffer, a.floats, a.pitch));
    out_.add("#pragma unroll");
    out_.add(
        fmt::format("for (int q_j = 0; q_j < {}; ++q_j) q_y[q_j] = q_b[{} * {} + q_kk * {} + {}];",
                    p_.nr, buffer, b.floats, b.pitch, column("q_j")));
    out_.add("#pragma unroll");
    out_.add(fmt::format("for (int q_i = 0; q_i < {}; ++q_i) {{", p_.mr));
    out_.add("#pragma unroll");
    out_.add(fmt::format(
        "for (int q_j = 0; q_j < {}; ++q_j) q_acc[q_i][q_j] += q_x[q_i] * q_y[q_j];", p_.nr));
    out_.add("}");
    out_.add("}");
  }

  void print_single_buffered(const TilePanel& a, const TilePanel& b) {
    out_.add(fmt::format("for (q_int q_k0 = q_first; q_k0 < q_nk; q_k0 += {}) {{", p_.kc));
    for (const TilePanel* panel : {&a, &b}) {
      out_.add("{");
      operands_.declare_fetched(*panel);
      operands_.print_fetch(*panel, "q_k0");
      operands_.print_put(*panel, "0");
      out_.add("}");
    }
    out_.add("q_barrier();");
    print_multiply(a, b, "0");
    out_.add("q_barrier();");
    out_.add("}");
  }

  /// Copies to local memory are under way for all tiles but the one that is multiplied.
  void print_in_background(const TilePanel& a, const TilePanel& b) {
    const int64_t ahead = p_.stages - 1;
    operands_.print_unroll();
    out_.add(fmt::format("for (int q_s = 0; q_s < {}; ++q_s) {{", ahead));
    for (const TilePanel* panel : {&a, &b}) {
      operands_.print_copy(*panel, fmt::format("q_first + q_s * {}", p_.kc), "q_s");
    }
    out_.add("q_copy_commit();");
    out_.add("}");
    out_.add(fmt::format("int q_now = 0, q_next = {};", ahead));
    out_.add(fmt::format("for (q_int q_k0 = q_first; q_k0 < q_nk; q_k0 += {}) {{", p_.kc));
    out_.add(fmt::format("Q_COPY_WAIT({});", ahead - 1));
    out_.add("q_barrier();");
    out_.add(fmt::format("const q_int q_coming = q_k0 + {};", ahead * p_.kc));
    out_.add("if (q_coming < q_nk) {");
    for (const TilePanel* panel : {&a, &b}) operands_.print_copy(*panel, "q_coming", "q_next");
    out_.add("}");
    out_.add("q_copy_commit();");
    print_multiply(a, b, "q_now");
    out_.add(fmt::format("q_now = q_now == {0} ? 0 : q_now + 1;", ahead));
    out_.add(fmt::format("q_next = q_next == {0} ? 0 : q_next + 1;", ahead));
    out_.add("}");
  }

  /// The next tile is on its way to registers while this one is multiplied.
  void print_double_buffered(const TilePanel& a, const TilePanel& b) {
    for (const TilePanel* panel : {&a, &b}) {
      operands_.declare_fetched(*panel);
      operands_.print_fetch(*panel, "q_first");
      operands_.print_put(*panel, "0");
    }
    out_.add("q_barrier();");
    out_.add("int q_now = 0;");
    out_.add(
        fmt::format("for (q_int q_k0 = q_first + {0}; q_k0 < q_nk + {0}; q_k0 += {0}) {{", p_.kc));
    out_.add("if (q_k0 < q_nk) {");
    operands_.print_fetch(a, "q_k0");
    operands_.print_fetch(b, "q_k0");
    out_.add("}");
    print_multiply(a, b, "q_now");
    out_.add("if (q_k0 < q_nk) {");
    operands_.print_put(a, "(1 - q_now)");
    operands_.print_put(b, "(1 - q_now)");
    out_.add("}");
    out_.add("q_barrier();");
    out_.add("q_now = 1 - q_now;");
    out_.add("}");
  }

  Result<void> print_results() {
    operands_.print_unroll();
    out_.add(fmt::format("for (int q_i = 0; q_i < {}; ++q_i) {{", p_.rows()));
    out_.add(fmt::format("const q_int q_m = q_m0 + {};", row()));
    out_.add("if (q_m < q_nm) {");
    operands_.decode("q_m", c_.m);
    const Statement& root = statements_[root_];
    const int64_t group = stores_vectors(root) ? neighbours() : 1;
    operands_.print_unroll();
    out_.add(fmt::format("for (int q_g = 0; q_g < {}; q_g += {}) {{", p_.columns(), group));
    if (group > 1) {
      for (const std::string& name : writes_) {
        out_.add(fmt::format("float q_s_{}[{}];", name, group));
      }
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
    operands_.decode("q_n", c_.n);
    for (size_t d = 0; d < c_.out_indices.size(); ++d) {
      out_.add(fmt::format("const q_int q_o{} = {};", d, text_.index(c_.out_indices[d])));
    }
    out_.add("{");
    for (size_t d = 0; d < root.axes.size(); ++d) {
      out_.add(fmt::format("const q_int {0} = q_o{1}; (void){0};", axis_id(root.axes[d].name), d));
    }
  }

  /// Neighbouring columns of a thread.
  int64_t neighbours() const { return p_.tf32 > 0 ? 2 : 4; }

  /// Whether neighbouring columns of a tile are neighbours in memory.
  bool stores_vectors(const Statement& root) const {
    return p_.width == 4 && p_.columns() % neighbours() == 0 && root.type == DType::kF32 &&
           !c_.n.empty() && c_.out_indices.back() == ir::int_axis(c_.n.back().name) &&
           c_.n.back().extent == root.axes.back().extent;
  }

  /// Neighbours lie in one row where rows are multiples of as many.
  std::string whole_vectors(const Statement& root) const {
    return fmt::format("{} % {} == 0", text_.index(root.axes.back().extent), neighbours());
  }

  void print_vector_stores(const Statement& root) {
    out_.add(fmt::format("if ({}) {{", whole_vectors(root)));
    print_point(root, column("q_g"));
    std::vector<IntExpr> point;
    for (const Axis& axis : root.axes) point.push_back(ir::int_axis(axis.name));
    for (const std::string& name : writes_) {
      out_.add(fmt::format("q_store{}({} + ({}), q_s_{});", neighbours(), tensor_id(name),
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
  TileOperands operands_;
};

/// Sums in parts to scratch memory, then their sum and what follows it.
Result<void> emit_split_k(const Program& program, const TileParams& params, int unroll,
                          Contraction contraction, const std::vector<Statement>& statements,
                          const std::vector<std::string>& writes, int number,
                          const ir::Sizes& sizes, DeviceProgram* made) {
  PartialResults partial = in_parts(program, statements, params.parts, PartOrder::kOutermost);
  Expr& sum = partial.combine[0].body;
  sum = ir::apply(ir::Op::kMul, {sum, contraction.post});
  contraction.post = ir::constant(1);
  contraction.out_indices.insert(contraction.out_indices.begin(), ir::int_axis(kPartAxis));
  const std::vector<Statement> first = {partial.tensor};
  const std::vector<std::string> parts = {partial.tensor.name};
  QUERN_ASSIGN(DeviceKernel kernel,
               TileKernel(partial.program, params, unroll, std::move(contraction), first, 0, parts)
                   .make(fmt::format("g{}_{}", number, partial.tensor.name)));
  for (const std::string& name : ir::tensors_of(statements[0].body)) {
    const bool known =
        std::find(kernel.reads.begin(), kernel.reads.end(), name) != kernel.reads.end();
    if (!known) kernel.reads.push_back(name);
  }
  made->kernels.push_back(std::move(kernel));
  return emit_combination(partial, {{"threads", 256}, {"width", params.width}}, number, sizes,
                          writes, made);
}

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
  QUERN_ASSIGN(const TileParams params, tile_params_of(group));
  const std::vector<std::string> writes = group_writes(program, group);
  // OpenCL compilers for CPUs take long over long bodies, and gain nothing from them.
  const int unroll = language == DeviceLanguage::kCuda ? static_cast<int>(params.kc) : 1;
  if (params.parts > 1) {
    return emit_split_k(program, params, unroll, std::move(*contraction), statements, writes,
                        number, sizes, made);
  }
  QUERN_ASSIGN(
      DeviceKernel kernel,
      TileKernel(program, params, unroll, std::move(*contraction), statements, root, writes)
          .make(fmt::format("g{}_{}", number, statements.back().name)));
  kernel.reads = group_reads(program, group);
  made->kernels.push_back(std::move(kernel));
  return {};
}

}  // namespace quern
