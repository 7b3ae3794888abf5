// SPDX-License-Identifier: Apache-2.0
#include "codegen/library_baselines.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "codegen/contraction_match.h"
#include "codegen/contraction_tables.h"
#include "codegen/group.h"
#include "codegen/library_match.h"
#include "codegen/library_whole.h"
#include "codegen/prelude.h"
#include "codegen/tile_expr.h"
#include "ir/recurrence.h"

namespace quern {

using ir::Axis;
using ir::Expr;
using ir::IntExpr;

namespace {

/// Prints one baseline: a library call that makes the tensor `made`, then loops for the statements
/// after it.
class Source {
 public:
  explicit Source(const ir::Program& program) : program_(program) {}

  std::string entry(const std::string& head, const std::string& call, size_t next) const {
    std::vector<std::string> args;
    for (const std::string& size : program_.free_sizes()) args.push_back("int64_t z_" + size);
    for (const ir::InputDecl& input : program_.inputs) {
      args.push_back(fmt::format("const {}* {}", c_type(input.type), tensor_id(input.name)));
    }
    for (const ir::Statement* output : program_.outputs()) {
      args.push_back(fmt::format("{}* {}", c_type(output->type), tensor_id(output->name)));
    }
    std::string text = fmt::format("// quern: entry = {}\n{}\nextern \"C\" void {}({}) {{\n",
                                   program_.name, head, program_.name, fmt::join(args, ", "));
    for (const ir::SizeDecl& size : program_.sizes) {
      text += fmt::format("  [[maybe_unused]] const int64_t {} = {};\n", size_id(size.name),
                          size.let ? c_int(program_, *size.let) : "z_" + size.name);
    }
    text += buffers(next) + call;
    for (size_t i = next; i < program_.statements.size(); ++i)
      text += loops(program_.statements[i]);
    return text + "}\n";
  }

  std::string dims(const std::vector<IntExpr>& extents) const {
    std::vector<std::string> texts;
    for (const IntExpr& extent : extents) texts.push_back(c_int(program_, extent));
    return fmt::format("Dims{{{}}}", fmt::join(texts, ", "));
  }

 private:
  /// Memory of the tensors that are neither outputs nor fused away.
  std::string buffers(size_t next) const {
    std::string text;
    for (size_t i = next == 0 ? 0 : next - 1; i < program_.statements.size(); ++i) {
      const ir::Statement& statement = program_.statements[i];
      if (statement.is_output) continue;
      text += fmt::format("  {0}* const {1} = static_cast<{0}*>(q_scratch({2}, {3} * 8));\n",
                          c_type(statement.type), tensor_id(statement.name), i,
                          c_int(program_, count(statement.axes)));
    }
    return text;
  }
  static IntExpr count(const std::vector<Axis>& axes) {
    IntExpr total = ir::int_constant(1);
    for (const Axis& axis : axes) total = total * axis.extent;
    return total;
  }
  std::string loops(const ir::Statement& statement) const {
    const size_t depth = statement.axes.size();
    std::string text =
        depth ? fmt::format("#pragma omp parallel for collapse({})\n", std::min<size_t>(depth, 2))
              : "";
    std::vector<IntExpr> at;
    for (const Axis& axis : statement.axes) {
      text += fmt::format("  for (int64_t {0} = 0; {0} < {1}; ++{0})\n", axis_id(axis.name),
                          c_int(program_, axis.extent));
      at.push_back(ir::int_axis(axis.name));
    }
    return text + fmt::format("    {}[{}] = {};\n", tensor_id(statement.name),
                              c_offset(program_, program_.shape_of(statement.name), at),
                              scalar_text(program_, statement.body));
  }

  const ir::Program& program_;
};

std::string key_text(const ir::Program& program) {
  std::vector<std::string> sizes;
  for (const std::string& size : program.free_sizes()) sizes.push_back("z_" + size);
  return fmt::format("Dims{{{}}}", fmt::join(sizes, ", "));
}

/// The cached primitive, made by `make` (statements that assign `q_op`), then run on `data`.
std::string cached(const ir::Program& program, const std::string& make, const std::string& data) {
  return fmt::format(
      "  static auto& q_made = *new std::map<Dims, Op*>;\n  Op*& q_op = q_made[{}];\n  if (!q_op) "
      "{{\n{}  }}\n"
      "  q_op->run({{{}}});\n",
      key_text(program), make, data);
}

std::string c_float(double value) { return fmt::format("static_cast<float>({})", value); }

std::string posts_text(const Fused& fused) {
  if (!fused.activation) return "{}";
  return fmt::format("{{Post{{dnnl_eltwise_{}, {}, {}}}}}", fused.activation->name,
                     c_float(fused.activation->alpha), c_float(fused.activation->beta));
}

struct Layout {
  std::vector<IntExpr> dims, strides;
};

std::string plain_text(const Source& source, const Layout& layout) {
  return fmt::format("plain({}, {})", source.dims(layout.dims), source.dims(layout.strides));
}

std::string onednn_matmul(const ir::Program& program, const MatmulShape& shape) {
  const Source source(program);
  const Fused fused = fuse_tail(program, shape.statement, true, shape.last_axis);
  const std::string& out = program.statements[fused.last].name;
  const size_t rank = shape.batch.size() + 2;
  Layout a, b, c, bias;
  for (const MatmulShape::Dimension& d : shape.batch) {
    a.dims.push_back(d.extent), a.strides.push_back(d.a);
    b.dims.push_back(d.extent), b.strides.push_back(d.b);
    c.dims.push_back(d.extent), c.strides.push_back(d.c);
  }
  auto add = [](Layout& layout, const IntExpr& extent, const IntExpr& stride) {
    layout.dims.push_back(extent), layout.strides.push_back(stride);
  };
  add(a, shape.m.extent, shape.m.a), add(a, shape.k.extent, shape.k.a);
  add(b, shape.k.extent, shape.k.b), add(b, shape.n.extent, shape.n.b);
  add(c, shape.m.extent, shape.m.c), add(c, shape.n.extent, shape.n.c);
  bias.dims.assign(rank, ir::int_constant(1));
  bias.dims.back() = shape.n.extent;
  std::string make =
      fmt::format("    const auto q_a = {}, q_b = {}, q_c = {};\n", plain_text(source, a),
                  plain_text(source, b), plain_text(source, c));
  std::string ports =
      "{DNNL_ARG_SRC, false, q_a, {}, {}, {}}, {DNNL_ARG_WEIGHTS, false, q_b, {}, {}, {}}, "
      "{DNNL_ARG_DST, true, q_c, {}, {}, {}}";
  std::string data =
      fmt::format("{}, {}, {}", tensor_id(shape.a), tensor_id(shape.b), tensor_id(out));
  if (fused.bias) {
    make += fmt::format("    const auto q_bias = plain({});\n", source.dims(bias.dims));
    ports += ", {DNNL_ARG_BIAS, false, q_bias, {}, {}, {}}";
    data += ", " + tensor_id(*fused.bias);
  }
  make += fmt::format(
      "    dnnl_matmul_desc_t q_desc;\n"
      "    must(dnnl_matmul_desc_init(&q_desc, &q_a, &q_b, {}, &q_c));\n"
      "    q_op = new Op(&q_desc, {}, {{{}}});\n",
      fused.bias ? "&q_bias" : "nullptr", posts_text(fused), ports);
  return source.entry("// quern: libraries = dnnl\n" + std::string(dnnl_prelude()),
                      cached(program, make, data), fused.last + 1);
}

std::string onednn_convolution(const ir::Program& program, const ConvolutionShape& shape,
                               bool own_layout) {
  const Source source(program);
  const Fused fused = fuse_tail(program, shape.statement, true, shape.channel_axis);
  const std::string& out = program.statements[fused.last].name;
  auto describe = [&](const char* name, const std::string& dims, const std::string& strides) {
    return fmt::format("    const auto q_{0}_user = plain({1}, {2}), q_{0} = {3};\n", name, dims,
                       strides, own_layout ? "any(" + dims + ")" : fmt::format("q_{}_user", name));
  };
  const std::string x = source.dims(shape.x_dims), y = source.dims(shape.y_dims);
  std::string make = describe("x", x, "dense(" + x + ")") +
                     describe("w", source.dims(shape.w_dims), source.dims(shape.w_strides)) +
                     describe("y", y, "dense(" + y + ")");
  std::string ports =
      "{DNNL_ARG_SRC, false, q_x_user, {}, {}, {}}, {DNNL_ARG_WEIGHTS, false, q_w_user, {}, {}, "
      "{}}, {DNNL_ARG_DST, true, q_y_user, {}, {}, {}}";
  std::string data =
      fmt::format("{}, {}, {}", tensor_id(shape.x), tensor_id(shape.w), tensor_id(out));
  if (fused.bias) {
    make += fmt::format("    const auto q_bias = plain(Dims{{{}}});\n",
                        c_int(program, shape.y_dims[1]));
    ports += ", {DNNL_ARG_BIAS, false, q_bias, {}, {}, {}}";
    data += ", " + tensor_id(*fused.bias);
  }
  const char* kind = shape.transposed ? "deconvolution" : "convolution";
  make += fmt::format(
      "    const Dims q_stride = {0}, q_gap = {1}, q_before = {2}, q_after = {3};\n"
      "    dnnl_{4}_desc_t q_desc;\n"
      "    must(dnnl_dilated_{4}_forward_desc_init(&q_desc, dnnl_forward_inference, "
      "dnnl_{4}_direct, &q_x, &q_w, {5}, &q_y, q_stride.data(), q_gap.data(), q_before.data(), "
      "q_after.data()));\n"
      "    q_op = new Op(&q_desc, {6}, {{{7}}});\n",
      source.dims(shape.stride), source.dims(shape.gap), source.dims(shape.before),
      source.dims(shape.after), kind, fused.bias ? "&q_bias" : "nullptr", posts_text(fused), ports);
  return source.entry("// quern: libraries = dnnl\n" + std::string(dnnl_prelude()),
                      cached(program, make, data), fused.last + 1);
}

/// Statements that fill `q_desc` for a primitive from q_x to q_y.
std::string whole_descriptor(const Source& source, const WholeOperation& op) {
  switch (op.kind) {
    case WholeOperation::Kind::kMap:
      return fmt::format(
          "    dnnl_eltwise_desc_t q_desc;\n"
          "    must(dnnl_eltwise_forward_desc_init(&q_desc, dnnl_forward_inference, "
          "dnnl_eltwise_{}, &q_x, {}, {}));\n",
          op.map.name, c_float(op.map.alpha), c_float(op.map.beta));
    case WholeOperation::Kind::kSoftmax:
      return fmt::format(
          "    dnnl_softmax_v2_desc_t q_desc;\n"
          "    must(dnnl_softmax_v2_forward_desc_init(&q_desc, dnnl_forward_inference, "
          "dnnl_softmax_{}, &q_x, &q_y, {}));\n",
          op.algorithm, op.axis);
    case WholeOperation::Kind::kReduction:
      return fmt::format(
          "    dnnl_reduction_desc_t q_desc;\n"
          "    must(dnnl_reduction_desc_init(&q_desc, dnnl_reduction_{}, &q_x, &q_y, 0, 0));\n",
          op.algorithm);
    case WholeOperation::Kind::kPooling:
      return fmt::format(
          "    const Dims q_stride = {}, q_kernel = {}, q_gap = {}, q_before = {}, q_after = {};\n"
          "    dnnl_pooling_v2_desc_t q_desc;\n"
          "    must(dnnl_pooling_v2_forward_desc_init(&q_desc, dnnl_forward_inference, "
          "dnnl_pooling_{}, &q_x, &q_y, q_stride.data(), q_kernel.data(), q_gap.data(), "
          "q_before.data(), q_after.data()));\n",
          source.dims(op.stride), source.dims(op.kernel), source.dims(op.gap),
          source.dims(op.before), source.dims(op.after), op.algorithm);
    case WholeOperation::Kind::kNorm:
      break;
  }
  const bool scale = op.by_column && !op.gamma.empty(), shift = op.by_column && !op.beta.empty();
  return fmt::format(
      "    const auto q_param = plain({}), q_statistic = plain({});\n"
      "    dnnl_layer_normalization_desc_t q_desc;\n"
      "    must(dnnl_layer_normalization_forward_desc_init(&q_desc, dnnl_forward_inference, &q_x, "
      "&q_statistic, {}, 0u{}{}));\n",
      source.dims({op.x_dims[1]}), source.dims({op.x_dims[0]}), c_float(op.eps),
      scale ? " | dnnl_use_scale" : "", shift ? " | dnnl_use_shift" : "");
}

std::string onednn_whole(const ir::Program& program, const WholeOperation& op) {
  const Source source(program);
  std::string make =
      fmt::format("    [[maybe_unused]] const auto q_x = plain({}), q_y = plain({});\n",
                  source.dims(op.x_dims), source.dims(op.y_dims)) +
      whole_descriptor(source, op);
  std::string ports =
      "{DNNL_ARG_SRC, false, q_x, {}, {}, {}}, {DNNL_ARG_DST, true, q_y, {}, {}, {}}";
  std::string data = fmt::format("{}, {}", tensor_id(op.x), tensor_id(op.y)), after;
  const auto param = [](const std::string& name) {
    return name.empty() ? "nullptr" : tensor_id(name);
  };
  if (op.by_column) {
    for (const auto& [name, arg] : {std::pair{op.gamma, "SCALE"}, {op.beta, "SHIFT"}}) {
      if (name.empty()) continue;
      ports += fmt::format(", {{DNNL_ARG_{}, false, q_param, {{}}, {{}}, {{}}}}", arg);
      data += ", " + tensor_id(name);
    }
  } else if (!op.gamma.empty() || !op.beta.empty()) {
    after = fmt::format("  scale_and_shift({}, {}, {}, {}, {}, {});\n", tensor_id(op.y),
                        param(op.gamma), param(op.beta), c_int(program, op.outer),
                        c_int(program, op.middle), c_int(program, op.inner));
  }
  make += fmt::format("    q_op = new Op(&q_desc, {{}}, {{{}}});\n", ports);
  return source.entry("// quern: libraries = dnnl\n" + std::string(dnnl_prelude()),
                      cached(program, make, data) + after, program.statements.size() + 1);
}

/// A sum as the product with a vector of ones, far quicker than the library's own reduction where
/// that falls back to plain loops; the mean scales the result.
std::string onednn_sum_product(const ir::Program& program, const WholeOperation& op) {
  const Source source(program);
  const IntExpr one = ir::int_constant(1);
  const bool rows = op.inner == one;
  const std::string n = c_int(program, op.middle);
  const std::string x = source.dims(rows ? std::vector{op.outer, op.middle}
                                         : std::vector{op.outer, op.middle, op.inner});
  const std::string y =
      source.dims(rows ? std::vector{op.outer, one} : std::vector{op.outer, one, op.inner});
  const std::string post =
      op.algorithm == "mean"
          ? fmt::format("{{Post{{dnnl_eltwise_linear, 1.0f / static_cast<float>({}), 0.0f}}}}", n)
          : "{}";
  const std::string make = fmt::format(
      "    const auto q_x = plain({0}), q_y = plain({1}), q_ones = plain({2});\n"
      "    dnnl_matmul_desc_t q_desc;\n"
      "    must(dnnl_matmul_desc_init(&q_desc, &{3}, &{4}, nullptr, &q_y));\n"
      "    q_op = new Op(&q_desc, {5}, {{{{DNNL_ARG_SRC, false, {3}, {{}}, {{}}, {{}}}}, "
      "{{DNNL_ARG_WEIGHTS, false, {4}, {{}}, {{}}, {{}}}}, "
      "{{DNNL_ARG_DST, true, q_y, {{}}, {{}}, {{}}}}}});\n",
      x, y, source.dims(rows ? std::vector{op.middle, one} : std::vector{one, one, op.middle}),
      rows ? "q_x" : "q_ones", rows ? "q_ones" : "q_x", post);
  const std::string in = tensor_id(op.x), ones = fmt::format("ones({})", n);
  const std::string data =
      fmt::format("{}, {}, {}", rows ? in : ones, rows ? ones : in, tensor_id(op.y));
  return source.entry("// quern: libraries = dnnl\n" + std::string(dnnl_prelude()),
                      cached(program, make, data), program.statements.size() + 1);
}

/// The greatest over an outer axis as pooling of channels that lie last.
std::string onednn_outer_pooling(const ir::Program& program, const WholeOperation& op) {
  const Source source(program);
  const IntExpr one = ir::int_constant(1);
  const IntExpr line = op.middle * op.inner;
  const std::string make = fmt::format(
      "    const auto q_x = plain({}, {}), q_y = plain({}, {});\n"
      "    const Dims q_stride = {{1, 1}}, q_none = {{0, 0}}, q_kernel = {};\n"
      "    dnnl_pooling_v2_desc_t q_desc;\n"
      "    must(dnnl_pooling_v2_forward_desc_init(&q_desc, dnnl_forward_inference, "
      "dnnl_pooling_max, &q_x, &q_y, q_stride.data(), q_kernel.data(), q_none.data(), "
      "q_none.data(), q_none.data()));\n"
      "    q_op = new Op(&q_desc, {{}}, {{{{DNNL_ARG_SRC, false, q_x, {{}}, {{}}, {{}}}}, "
      "{{DNNL_ARG_DST, true, q_y, {{}}, {{}}, {{}}}}}});\n",
      source.dims({op.outer, op.inner, one, op.middle}), source.dims({line, one, line, op.inner}),
      source.dims({op.outer, op.inner, one, one}), source.dims({op.inner, one, op.inner, op.inner}),
      source.dims({one, op.middle}));
  const std::string data = fmt::format("{}, {}", tensor_id(op.x), tensor_id(op.y));
  return source.entry("// quern: libraries = dnnl\n" + std::string(dnnl_prelude()),
                      cached(program, make, data), program.statements.size() + 1);
}

void add_whole(const ir::Program& program, const WholeOperation& op,
               std::vector<BaselineSource>& out) {
  const bool reduction = op.kind == WholeOperation::Kind::kReduction && op.neighbours;
  const bool inner = op.inner == ir::int_constant(1);
  const bool sum = op.algorithm == "sum" || op.algorithm == "mean";
  // Its reduction over an outer axis is a plain loop against the memory's order.
  if (!reduction || inner || (!sum && op.algorithm != "max"))
    out.push_back({"onednn", onednn_whole(program, op), {"dnnl"}});
  if (reduction && sum) out.push_back({"onednn-matmul", onednn_sum_product(program, op), {"dnnl"}});
  if (reduction && !inner && op.algorithm == "max")
    out.push_back({"onednn-pooling", onednn_outer_pooling(program, op), {"dnnl"}});
}

/// OpenBLAS 0.3.21 does not know newer processors by name and falls back to SSE; the variable says
/// which kernels the instruction set allows. It is read when the library is loaded, so it must be
/// set before: hence no link-time dependency.
constexpr const char* kBlasHead = R"(// quern: libraries = dl
#include <dlfcn.h>
#include <stdlib.h>

#include "quern_cpu.h"

typedef void (*Gemm)(int, int, int, int, int, int, float, const float*, int, const float*, int,
                     float, float*, int);
static Gemm gemm;
__attribute__((constructor)) static void load_blas() {
#if defined(__AVX512F__)
  setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
#elif defined(__AVX2__)
  setenv("OPENBLAS_CORETYPE", "Haswell", 0);
#endif
  void* library = dlopen("libopenblas.so.0", RTLD_NOW);
  gemm = library ? reinterpret_cast<Gemm>(dlsym(library, "cblas_sgemm")) : nullptr;
}
)";

std::string openblas_matmul(const ir::Program& program, const MatmulShape& shape) {
  const Source source(program);
  const std::string& out = program.statements[shape.statement].name;
  std::string call, offset_a = "0", offset_b = "0", offset_c = "0";
  for (size_t i = 0; i < shape.batch.size(); ++i) {
    const MatmulShape::Dimension& d = shape.batch[i];
    call += fmt::format("  for (int64_t q_{0} = 0; q_{0} < {1}; ++q_{0})\n", i,
                        c_int(program, d.extent));
    offset_a += fmt::format(" + q_{} * {}", i, c_int(program, d.a));
    offset_b += fmt::format(" + q_{} * {}", i, c_int(program, d.b));
    offset_c += fmt::format(" + q_{} * {}", i, c_int(program, d.c));
  }
  // 101: row-major; 111, 112: as it is, transposed.
  auto operand = [&](const IntExpr& row, const IntExpr& column, bool transposed) {
    return std::pair{transposed ? 112 : 111, c_int(program, transposed ? column : row)};
  };
  const auto [ta, lda] = operand(shape.m.a, shape.k.a, shape.a_transposed);
  const auto [tb, ldb] = operand(shape.k.b, shape.n.b, shape.b_transposed);
  call += fmt::format(
      "    gemm(101, {}, {}, static_cast<int>({}), static_cast<int>({}), static_cast<int>({}), "
      "1.0f, {} + {}, static_cast<int>({}), {} + {}, static_cast<int>({}), 0.0f, {} + {}, "
      "static_cast<int>({}));\n",
      ta, tb, c_int(program, shape.m.extent), c_int(program, shape.n.extent),
      c_int(program, shape.k.extent), tensor_id(shape.a), offset_a, lda, tensor_id(shape.b),
      offset_b, ldb, tensor_id(out), offset_c, c_int(program, shape.m.c));
  return source.entry(kBlasHead, call, shape.statement + 1);
}

/// Whether everything after statement `first` is pointwise code that plain loops can finish.
bool only_maps_after(const ir::Program& program, size_t first) {
  for (size_t i = first; i < program.statements.size(); ++i) {
    if (program.statements[i].kind != ir::Statement::Kind::kMap) return false;
  }
  return true;
}

}  // namespace

std::vector<BaselineSource> library_baselines(const ir::Program& program, const ir::Sizes& sizes) {
  std::vector<BaselineSource> out;
  if (program.statements.empty() || !ir::recurrences(program).empty()) return out;
  const bool product = only_maps_after(program, 1);
  if (auto shape = product ? match_matmul(program, 0, sizes) : std::nullopt) {
    if (shape->blas) out.push_back({"openblas", openblas_matmul(program, *shape), {"dl"}});
    out.push_back({"onednn", onednn_matmul(program, *shape), {"dnnl"}});
  } else if (auto window = product ? match_convolution(program, 0, sizes) : std::nullopt) {
    out.push_back({"onednn", onednn_convolution(program, *window, true), {"dnnl"}});
    out.push_back({"onednn-plain", onednn_convolution(program, *window, false), {"dnnl"}});
  } else if (auto whole = match_whole(program, sizes)) {
    add_whole(program, *whole, out);
  }
  return out;
}

}  // namespace quern
