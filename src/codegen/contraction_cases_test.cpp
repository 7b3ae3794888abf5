// SPDX-License-Identifier: Apache-2.0
#include "codegen/contraction_cases.h"

namespace quern {
namespace cases {

ir::IntExpr div(ir::IntExpr a, ir::IntExpr b) {
  return ir::int_binary(ir::IntExpr::Kind::kDiv, std::move(a), std::move(b));
}
ir::IntExpr mod(ir::IntExpr a, ir::IntExpr b) {
  return ir::int_binary(ir::IntExpr::Kind::kMod, std::move(a), std::move(b));
}
ir::Expr L(const char* tensor, std::vector<ir::IntExpr> indices) {
  return ir::load(tensor, std::move(indices));
}
ir::Expr padded(const char* tensor, std::vector<ir::IntExpr> indices) {
  return ir::load_else(tensor, std::move(indices), ir::constant(0));
}
ir::Expr op(ir::Op op, std::vector<ir::Expr> args) { return ir::apply(op, std::move(args)); }
ir::Expr operator*(ir::Expr a, ir::Expr b) {
  return op(ir::Op::kMul, {std::move(a), std::move(b)});
}
ir::Expr operator+(ir::Expr a, ir::Expr b) {
  return op(ir::Op::kAdd, {std::move(a), std::move(b)});
}
ir::Expr operator-(ir::Expr a, ir::Expr b) {
  return op(ir::Op::kSub, {std::move(a), std::move(b)});
}

ir::Statement map(const char* name, const Axes& axes, ir::Expr body) {
  ir::Statement statement;
  statement.name = name;
  for (const auto& [axis, extent] : axes) statement.axes.push_back({axis, extent});
  statement.body = std::move(body);
  return statement;
}

ir::Statement sum(const char* name, const Axes& axes, const Axes& reduce, ir::Expr body) {
  ir::Statement statement = map(name, axes, std::move(body));
  statement.kind = ir::Statement::Kind::kReduce;
  for (const auto& [axis, extent] : reduce) statement.reduce_axes.push_back({axis, extent});
  return statement;
}

ir::Program program(const std::vector<const char*>& sizes,
                    const std::vector<std::pair<const char*, std::vector<ir::IntExpr>>>& inputs,
                    std::vector<ir::Statement> statements,
                    const std::vector<std::pair<const char*, ir::IntExpr>>& lets) {
  ir::Program out;
  for (const char* size : sizes) out.sizes.push_back({size, 1, std::nullopt});
  for (const auto& [name, value] : lets) out.sizes.push_back({name, 0, value});
  for (const auto& [name, shape] : inputs) {
    ir::InputDecl input;
    input.name = name;
    input.shape = shape;
    out.inputs.push_back(std::move(input));
  }
  out.statements = std::move(statements);
  out.statements.back().is_output = true;
  return out;
}

}  // namespace cases

namespace {

using namespace cases;

Group group_of(const ir::Program& program, std::map<std::string, int64_t> params = {}) {
  Group group;
  group.skeleton = Skeleton::kContraction;
  for (size_t i = 0; i < program.statements.size(); ++i) {
    group.statements.push_back(static_cast<int>(i));
  }
  group.root = 0;
  group.params = std::move(params);
  return group;
}

void add(std::vector<ContractionCase>& out, const char* name, ir::Program program,
         std::vector<std::map<std::string, int64_t>> sizes,
         std::map<std::string, int64_t> params = {}) {
  ContractionCase item{name, std::move(program), {}, std::move(sizes)};
  item.group = group_of(item.program, std::move(params));
  out.push_back(std::move(item));
}

const Axes kIJ = {{"i", S("m")}, {"j", S("n")}}, kP = {{"p", S("k")}};
const std::vector<std::map<std::string, int64_t>> kOdd = {{{"m", 1}, {"n", 1}, {"k", 1}},
                                                          {{"m", 37}, {"n", 61}, {"k", 29}},
                                                          {{"m", 150}, {"n", 33}, {"k", 70}}};

void matmuls(std::vector<ContractionCase>& out) {
  for (int ta = 0; ta < 2; ++ta) {
    for (int tb = 0; tb < 2; ++tb) {
      const auto a = ta ? std::vector{S("k"), S("m")} : std::vector{S("m"), S("k")};
      const auto b = tb ? std::vector{S("n"), S("k")} : std::vector{S("k"), S("n")};
      const auto ai = ta ? std::vector{A("p"), A("i")} : std::vector{A("i"), A("p")};
      const auto bi = tb ? std::vector{A("j"), A("p")} : std::vector{A("p"), A("j")};
      const char* names[] = {"matmul_nn", "matmul_nt", "matmul_tn", "matmul_tt"};
      add(out, names[ta * 2 + tb],
          program({"m", "n", "k"}, {{"a", a}, {"b", b}},
                  {sum("c", kIJ, kP, L("a", ai) * L("b", bi))}),
          kOdd, {{"kc", 16}, {"parallel", ta}});
    }
  }
  const auto product = L("a", {A("i"), A("p")}) * L("b", {A("p"), A("j")});
  const std::vector<std::pair<const char*, std::vector<ir::IntExpr>>> ab = {
      {"a", {S("m"), S("k")}}, {"b", {S("k"), S("n")}}};
  // The output is transposed: rows and columns swap roles.
  add(out, "transposed_store",
      program({"m", "n", "k"}, ab, {sum("c", {{"j", S("n")}, {"i", S("m")}}, kP, product)}), kOdd);
  // Lower-triangular operand, and a product that is scaled and negated.
  add(out, "triangular",
      program({"m", "n", "k"}, ab,
              {sum("c", kIJ, kP,
                   op(ir::Op::kSelect,
                      {op(ir::Op::kLe, {ir::index_value(A("p")), ir::index_value(A("i"))}),
                       op(ir::Op::kNeg, {product * ir::constant(0.5)}), ir::constant(0)}))}),
      kOdd);
  // The left factor is an expression: packed element by element.
  add(out, "prologue",
      program({"m", "n", "k"}, ab,
              {sum("c", kIJ, kP,
                   op(ir::Op::kTanh, {L("a", {A("i"), A("p")})}) * L("b", {A("p"), A("j")}))}),
      kOdd);
  std::vector<ir::Statement> chain = {sum("c", kIJ, kP, product)};
  chain.push_back(map("d", {{"u", S("m")}, {"v", S("n")}},
                      L("c", {A("u"), A("v")}) + L("bias", {A("v")}) * L("row", {A("u")})));
  chain.push_back(map("e", {{"v", S("n")}, {"u", S("m")}},
                      L("d", {A("u"), A("v")}) * op(ir::Op::kErf, {L("d", {A("u"), A("v")})}) +
                          L("res", {A("v"), A("u")}) + ir::index_value(A("u") + A("v"))));
  auto inputs = ab;
  inputs.push_back({"bias", {S("n")}});
  inputs.push_back({"row", {S("m")}});
  inputs.push_back({"res", {S("n"), S("m")}});
  chain[1].is_output = true;
  add(out, "epilogue", program({"m", "n", "k"}, inputs, chain), kOdd, {{"mr", 6}, {"nr", 1}});
}

void batches(std::vector<ContractionCase>& out) {
  const std::vector<std::map<std::string, int64_t>> sizes = {
      {{"b", 5}, {"m", 17}, {"n", 35}, {"k", 11}}, {{"b", 2}, {"m", 40}, {"n", 70}, {"k", 33}}};
  const Axes bij = {{"z", S("b")}, {"i", S("m")}, {"j", S("n")}};
  const char* names[] = {"batched_rows", "batched_columns", "batched_whole"};
  for (int parallel = 0; parallel < 3; ++parallel) {
    add(out, names[parallel],
        program({"b", "m", "n", "k"},
                {{"a", {S("b"), S("m"), S("k")}}, {"c", {S("b"), S("k"), S("n")}}},
                {sum("y", bij, kP,
                     L("a", {A("z"), A("i"), A("p")}) * L("c", {A("z"), A("p"), A("j")}))}),
        sizes, {{"parallel", parallel}, {"kc", 8}, {"mc", 14}, {"nc", 32}});
  }
  // Batch in one operand only, and a batch axis that is innermost in the output.
  add(out, "shared_weights",
      program({"b", "m", "n", "k"}, {{"a", {S("b"), S("m"), S("k")}}, {"c", {S("n"), S("k")}}},
              {sum("y", bij, kP, L("a", {A("z"), A("i"), A("p")}) * L("c", {A("j"), A("p")}))}),
      sizes);
  add(out, "batch_inside",
      program({"b", "m", "n", "k"},
              {{"a", {S("b"), S("m"), S("k")}}, {"c", {S("b"), S("k"), S("n")}}},
              {sum("y", {{"i", S("m")}, {"j", S("n")}, {"z", S("b")}}, kP,
                   L("a", {A("z"), A("i"), A("p")}) * L("c", {A("z"), A("p"), A("j")}))}),
      sizes);
  // b i j k, k l -> b i j l with two reduced axes on one side.
  add(out, "einsum",
      program({"b", "m", "n", "k"},
              {{"a", {S("b"), S("m"), S("k"), S("n")}}, {"c", {S("k"), S("n"), S("b"), S("m")}}},
              {sum("y", {{"z", S("b")}, {"i", S("m")}, {"u", S("b")}, {"v", S("m")}},
                   {{"p", S("k")}, {"q", S("n")}},
                   L("a", {A("z"), A("i"), A("p"), A("q")}) *
                       L("c", {A("p"), A("q"), A("u"), A("v")}))}),
      {{{"b", 3}, {"m", 7}, {"n", 5}, {"k", 9}}});
}

ir::Program convolution(int64_t stride, int64_t pad, int64_t dilation, bool grouped) {
  auto at = [&](const char* o, const char* r) {
    return A(o) * C(stride) + A(r) * C(dilation) - C(pad);
  };
  auto extent = [&](const char* size) {
    return div(S(size) + C(2 * pad) - C(dilation) * (S("r") - C(1)) - C(1), C(stride)) + C(1);
  };
  const auto channel = grouped ? div(A("f"), S("fpg")) * S("cpg") + A("c") : A("c");
  return program(
      {"b", "cpg", "fpg", "g", "h", "w", "r"},
      {{"x", {S("b"), grouped ? S("cpg") * S("g") : S("cpg"), S("h"), S("w")}},
       {"k", {S("fs"), S("cpg"), S("r"), S("r")}},
       {"bias", {S("fs")}}},
      {sum("y", {{"z", S("b")}, {"f", S("fs")}, {"i", S("oh")}, {"j", S("ow")}},
           {{"c", S("cpg")}, {"u", S("r")}, {"v", S("r")}},
           padded("x", {A("z"), channel, at("i", "u"), at("j", "v")}) *
               L("k", {A("f"), A("c"), A("u"), A("v")})),
       map("o", {{"z", S("b")}, {"f", S("fs")}, {"i", S("oh")}, {"j", S("ow")}},
           op(ir::Op::kMax,
              {L("y", {A("z"), A("f"), A("i"), A("j")}) + L("bias", {A("f")}), ir::constant(0)}))},
      {{"fs", S("fpg") * S("g")}, {"oh", extent("h")}, {"ow", extent("w")}});
}

void convolutions(std::vector<ContractionCase>& out) {
  const std::vector<std::map<std::string, int64_t>> sizes = {
      {{"b", 2}, {"cpg", 3}, {"fpg", 5}, {"g", 1}, {"h", 13}, {"w", 11}, {"r", 3}},
      {{"b", 1}, {"cpg", 4}, {"fpg", 17}, {"g", 1}, {"h", 7}, {"w", 40}, {"r", 2}},
      {{"b", 1}, {"cpg", 7}, {"fpg", 9}, {"g", 1}, {"h", 6}, {"w", 9}, {"r", 1}}};
  add(out, "conv_plain", convolution(1, 0, 1, false), sizes);
  add(out, "conv_padded", convolution(1, 1, 1, false), sizes, {{"kc", 8}});
  add(out, "conv_strided", convolution(2, 1, 1, false), sizes);
  add(out, "conv_dilated", convolution(1, 2, 2, false), sizes, {{"parallel", 0}});
  add(out, "conv_strided_far", convolution(3, 4, 2, false), sizes);
  add(out, "conv_grouped", convolution(1, 1, 1, true),
      {{{"b", 2}, {"cpg", 3}, {"fpg", 4}, {"g", 3}, {"h", 9}, {"w", 8}, {"r", 3}},
       {{"b", 2}, {"cpg", 2}, {"fpg", 1}, {"g", 5}, {"h", 9}, {"w", 8}, {"r", 3}}});
}

/// Every output position gathers the taps that reach it: a divisibility condition per dimension.
ir::Program transposed_convolution(int64_t stride, int64_t pad, int64_t dilation) {
  auto raw = [&](const char* o, const char* r) { return A(o) + C(pad) - A(r) * C(dilation); };
  auto whole = [&](const char* o, const char* r) {
    return op(ir::Op::kEq, {ir::index_value(mod(raw(o, r), C(stride))), ir::constant(0)});
  };
  auto extent = [&](const char* size) {
    return (S(size) - C(1)) * C(stride) - C(2 * pad) + C(dilation) * (S("r") - C(1)) + C(1);
  };
  return program(
      {"b", "c", "f", "h", "w", "r"},
      {{"x", {S("b"), S("c"), S("h"), S("w")}}, {"k", {S("c"), S("f"), S("r"), S("r")}}},
      {sum("y", {{"z", S("b")}, {"o", S("f")}, {"i", S("oh")}, {"j", S("ow")}},
           {{"q", S("c")}, {"u", S("r")}, {"v", S("r")}},
           op(ir::Op::kSelect, {op(ir::Op::kAnd, {whole("i", "u"), whole("j", "v")}),
                                padded("x", {A("z"), A("q"), div(raw("i", "u"), C(stride)),
                                             div(raw("j", "v"), C(stride))}) *
                                    L("k", {A("q"), A("o"), A("u"), A("v")}),
                                ir::constant(0)}))},
      {{"oh", extent("h")}, {"ow", extent("w")}});
}

void transposed_convolutions(std::vector<ContractionCase>& out) {
  const std::vector<std::map<std::string, int64_t>> sizes = {
      {{"b", 2}, {"c", 5}, {"f", 7}, {"h", 6}, {"w", 9}, {"r", 4}},
      {{"b", 1}, {"c", 3}, {"f", 20}, {"h", 5}, {"w", 4}, {"r", 3}},
      {{"b", 1}, {"c", 3}, {"f", 2}, {"h", 5}, {"w", 4}, {"r", 1}}};
  add(out, "transposed_conv", transposed_convolution(2, 0, 1), sizes);
  add(out, "transposed_conv_unsplit", transposed_convolution(2, 0, 1), sizes, {{"phase", 0}});
  add(out, "transposed_conv_dilated", transposed_convolution(3, 0, 2), sizes);
  add(out, "transposed_conv_padded", transposed_convolution(2, 1, 1), {sizes[0], sizes[1]});
}

}  // namespace

std::vector<ContractionCase> contraction_cases() {
  std::vector<ContractionCase> out;
  matmuls(out);
  batches(out);
  convolutions(out);
  transposed_convolutions(out);
  return out;
}

}  // namespace quern
