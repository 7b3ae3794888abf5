// SPDX-License-Identifier: Apache-2.0
#include "codegen/library_whole.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>

#include "codegen/contraction_cases.h"
#include "codegen/kernel_testing.h"
#include "codegen/library_baselines.h"
#include "codegen/prelude.h"
#include "ir/interpret.h"

namespace quern {
namespace {

using namespace cases;
using ir::Op;
using Kind = WholeOperation::Kind;

ir::Expr c(double value) { return ir::constant(value); }
ir::Expr over(ir::Expr a, ir::Expr b) { return op(Op::kDiv, {std::move(a), std::move(b)}); }
ir::Expr less(ir::Expr a, ir::Expr b) { return op(Op::kSub, {std::move(a), std::move(b)}); }
ir::Expr times(ir::Expr a, ir::Expr b) { return op(Op::kMul, {std::move(a), std::move(b)}); }
ir::Expr plus(ir::Expr a, ir::Expr b) { return op(Op::kAdd, {std::move(a), std::move(b)}); }
ir::Statement reduce(ir::Monoid monoid, ir::Statement statement) {
  statement.monoid = monoid;
  return statement;
}

/// y = body(x) on a matrix.
ir::Program pointwise(const std::function<ir::Expr(ir::Expr)>& body) {
  return program({"m", "n"}, {{"x", {S("m"), S("n")}}},
                 {map("y", {{"i", S("m")}, {"j", S("n")}}, body(L("x", {A("i"), A("j")})))});
}

ir::Expr gelu(const ir::Expr& x) {
  return times(times(c(0.5), x), plus(c(1), op(Op::kErf, {over(x, c(std::sqrt(2.0)))})));
}
ir::Expr sigmoid(const ir::Expr& x) {
  return over(c(1), plus(c(1), op(Op::kExp, {op(Op::kNeg, {x})})));
}
ir::Expr leaky(const ir::Expr& x) {
  return op(Op::kSelect, {op(Op::kGt, {x, c(0)}), x, times(c(0.01), x)});
}

/// Along the given axis of x[a, b, d]; `log_space` for log_softmax.
ir::Program softmax(size_t axis, bool log_space) {
  const Axes all = {{"i", S("a")}, {"j", S("b")}, {"k", S("d")}};
  Axes kept = all, along = {all[axis]};
  kept.erase(kept.begin() + static_cast<int64_t>(axis));
  const std::vector<ir::IntExpr> at = {A(kept[0].first), A(kept[1].first)};
  const ir::Expr x = L("x", {A("i"), A("j"), A("k")}), shifted = less(x, L("top", at));
  const ir::Expr power = op(Op::kExp, {shifted}), total = L("total", at);
  return program(
      {"a", "b", "d"}, {{"x", {S("a"), S("b"), S("d")}}},
      {reduce(ir::Monoid::kMax, sum("top", kept, along, x)), sum("total", kept, along, power),
       map("y", all, log_space ? less(shifted, op(Op::kLog, {total})) : over(power, total))});
}

/// Statistics over the last two of x[a, b, d]'s dimensions or the last one; gamma and beta along
/// dimension `along`.
ir::Program norm(bool two, size_t along, double eps) {
  const Axes all = {{"i", S("a")}, {"j", S("b")}, {"k", S("d")}};
  const Axes kept(all.begin(), all.begin() + (two ? 1 : 2));
  const Axes reduced(all.begin() + (two ? 1 : 2), all.end());
  std::vector<ir::IntExpr> at = {A("i")};
  if (!two) at.push_back(A("j"));
  const ir::Expr count = ir::index_value(two ? S("b") * S("d") : S("d"));
  const ir::Expr x = L("x", {A("i"), A("j"), A("k")}), gap = less(x, L("mean", at));
  const ir::Expr variance = over(L("squares", at), count);
  const auto param = [&](const char* name) { return L(name, {A(all[along].first)}); };
  return program(
      {"a", "b", "d"},
      {{"x", {S("a"), S("b"), S("d")}}, {"g", {all[along].second}}, {"h", {all[along].second}}},
      {sum("total", kept, reduced, x), map("mean", kept, over(L("total", at), count)),
       sum("squares", kept, reduced, times(gap, gap)),
       map("scale", kept, op(Op::kRsqrt, {plus(variance, c(eps))})),
       map("y", all, plus(times(times(gap, L("scale", at)), param("g")), param("h")))});
}

/// Group norm of x[b, c, h, w] by groups of c / 4 neighbouring channels, scale and shift by
/// channel.
ir::Program group_norm() {
  const ir::IntExpr width = div(S("c"), C(4)), channel = A("g") * width + A("k");
  const Axes all = {{"n", S("b")}, {"m", S("c")}, {"i", S("h")}, {"j", S("w")}};
  const Axes kept = {{"n", S("b")}, {"g", C(4)}};
  const Axes members = {{"k", width}, {"i", S("h")}, {"j", S("w")}};
  const ir::Expr x = L("x", {A("n"), channel, A("i"), A("j")});
  const ir::Expr count = ir::index_value(width * S("h") * S("w"));
  const ir::Expr gap = less(x, L("mean", {A("n"), A("g")}));
  const ir::Expr variance = over(L("squares", {A("n"), A("g")}), count);
  const std::vector<ir::IntExpr> group = {A("n"), div(A("m"), width)};
  const ir::Expr placed = less(L("x", {A("n"), A("m"), A("i"), A("j")}), L("mean", group));
  return program(
      {"b", "c", "h", "w"},
      {{"x", {S("b"), S("c"), S("h"), S("w")}}, {"g", {S("c")}}, {"h", {S("c")}}},
      {sum("total", kept, members, x), map("mean", kept, over(L("total", {A("n"), A("g")}), count)),
       sum("squares", kept, members, times(gap, gap)),
       map("scale", kept, op(Op::kRsqrt, {plus(variance, c(1e-5))})),
       map("y", all,
           plus(times(times(placed, L("scale", group)), L("g", {A("m")})), L("h", {A("m")})))});
}

struct Window {
  int64_t kernel, stride, padding, dilation = 1;
  bool mean = false;
};

ir::Program pooling(const Window& w) {
  const auto out = [&](const char* size) {
    return div(S(size) + C(2 * w.padding) - C(w.dilation * (w.kernel - 1) + 1), C(w.stride)) + C(1);
  };
  const auto place = [&](const char* axis, const char* tap) {
    return A(axis) * C(w.stride) + A(tap) * C(w.dilation) - C(w.padding);
  };
  const Axes axes = {{"n", S("b")}, {"c", S("ch")}, {"i", out("h")}, {"j", out("w")}};
  const std::vector<ir::IntExpr> at = {A("n"), A("c"), place("i", "r"), place("j", "s")};
  const ir::Expr x = ir::load_else("x", at, c(w.mean ? 0 : -INFINITY));
  std::vector<ir::Statement> statements = {
      sum(w.mean ? "total" : "y", axes, {{"r", C(w.kernel)}, {"s", C(w.kernel)}}, x)};
  if (!w.mean) statements[0].monoid = ir::Monoid::kMax;
  if (w.mean) {
    const ir::Expr total = L("total", {A("n"), A("c"), A("i"), A("j")});
    statements.push_back(map("y", axes, over(total, c(static_cast<double>(w.kernel * w.kernel)))));
  }
  return program({"b", "ch", "h", "w"}, {{"x", {S("b"), S("ch"), S("h"), S("w")}}},
                 std::move(statements));
}

/// x[a, b, d] reduced over one axis; the mean divides by its extent.
ir::Program reduction(size_t axis, ir::Monoid monoid, bool mean) {
  Axes kept = {{"i", S("a")}, {"j", S("b")}, {"k", S("d")}}, along = {kept[axis]};
  kept.erase(kept.begin() + static_cast<int64_t>(axis));
  std::vector<ir::Statement> statements = {
      reduce(monoid, sum(mean ? "total" : "y", kept, along, L("x", {A("i"), A("j"), A("k")})))};
  if (mean) {
    const ir::Expr total = L("total", {A(kept[0].first), A(kept[1].first)});
    statements.push_back(map("y", kept, over(total, ir::index_value(along[0].second))));
  }
  return program({"a", "b", "d"}, {{"x", {S("a"), S("b"), S("d")}}}, std::move(statements));
}

struct WholeCase {
  std::string name;
  ir::Program program;
  Kind kind;
  std::string algorithm;
  std::array<int64_t, 2> sizes = {7, 11};  ///< the first free size of each run
};

std::vector<WholeCase> whole_cases() {
  const auto apply = [](Op o) { return [o](ir::Expr x) { return op(o, {std::move(x)}); }; };
  return {
      {"relu", pointwise([](ir::Expr x) {
         return op(Op::kMax, {std::move(x), c(0)});
       }),
       Kind::kMap, "relu"},
      {"leaky", pointwise(leaky), Kind::kMap, "relu"},
      {"gelu", pointwise(gelu), Kind::kMap, "gelu_erf"},
      {"sigmoid", pointwise(sigmoid), Kind::kMap, "logistic"},
      {"swish", pointwise([](const ir::Expr& x) { return times(x, sigmoid(x)); }), Kind::kMap,
       "swish"},
      {"tanh_map", pointwise(apply(Op::kTanh)), Kind::kMap, "tanh"},
      {"exp_map", pointwise(apply(Op::kExp)), Kind::kMap, "exp"},
      {"affine", pointwise([](const ir::Expr& x) { return plus(times(x, c(1.75)), c(-3)); }),
       Kind::kMap, "linear"},
      {"clip", pointwise([](const ir::Expr& x) {
         return op(Op::kMin, {op(Op::kMax, {x, c(-0.5)}), c(0.625)});
       }),
       Kind::kMap, "clip_v2"},
      {"softmax_last", softmax(2, false), Kind::kSoftmax, "accurate"},
      {"softmax_middle", softmax(1, false), Kind::kSoftmax, "accurate"},
      {"log_softmax", softmax(2, true), Kind::kSoftmax, "log"},
      {"layer_norm", norm(false, 2, 1e-5), Kind::kNorm, ""},
      {"instance_norm", norm(false, 1, 1e-3), Kind::kNorm, ""},
      {"sample_norm", norm(true, 1, 0.25), Kind::kNorm, ""},
      {"group_norm", group_norm(), Kind::kNorm, "", {8, 12}},
      {"max_pool", pooling({.kernel = 4, .stride = 1, .padding = 1}), Kind::kPooling, "max"},
      {"max_pool_dilated", pooling({.kernel = 2, .stride = 3, .padding = 1, .dilation = 2}),
       Kind::kPooling, "max"},
      {"mean_pool", pooling({.kernel = 3, .stride = 3, .padding = 0, .mean = true}), Kind::kPooling,
       "avg_include_padding"},
      {"mean_pool_padded", pooling({.kernel = 3, .stride = 2, .padding = 1, .mean = true}),
       Kind::kPooling, "avg_include_padding"},
      {"sum_last", reduction(2, ir::Monoid::kSum, false), Kind::kReduction, "sum"},
      {"sum_first", reduction(0, ir::Monoid::kSum, false), Kind::kReduction, "sum"},
      {"mean_last", reduction(2, ir::Monoid::kSum, true), Kind::kReduction, "mean"},
      {"max_last", reduction(2, ir::Monoid::kMax, false), Kind::kReduction, "max"},
      {"min_middle", reduction(1, ir::Monoid::kMin, false), Kind::kReduction, "min"},
      {"mean_middle", reduction(1, ir::Monoid::kSum, true), Kind::kReduction, "mean"},
      {"max_first", reduction(0, ir::Monoid::kMax, false), Kind::kReduction, "max"},
  };
}

ir::Sizes odd_sizes(const ir::Program& program, int64_t first) {
  std::map<std::string, int64_t> free;
  for (const std::string& size : program.free_sizes()) free[size] = first, first += 4;
  return *ir::bind_sizes(program, free);
}

/// Calls an entry through one function type that fits all of them.
void call_entry(void* entry, const ir::Program& program, const ir::Sizes& sizes,
                const std::vector<float*>& data) {
  std::array<uint64_t, 8> a{};
  size_t n = 0;
  for (const std::string& size : program.free_sizes())
    a[n++] = static_cast<uint64_t>(sizes.at(size));
  for (float* pointer : data) a[n++] = reinterpret_cast<uint64_t>(pointer);
  using U = uint64_t;
  reinterpret_cast<void (*)(U, U, U, U, U, U, U, U)>(entry)(a[0], a[1], a[2], a[3], a[4], a[5],
                                                            a[6], a[7]);
}

/// One baseline under a name of its own.
struct Entry {
  WholeCase item;
  std::string name, title;
};

/// The sources of all baselines as one, which shares their prelude: compiling it is what costs.
std::string all_sources(std::vector<Entry>& entries) {
  std::string text(dnnl_prelude());
  for (WholeCase item : whole_cases()) {
    const ir::Sizes sizes = odd_sizes(item.program, item.sizes[0]);
    for (size_t i = 0;; ++i) {
      item.program.name = fmt::format("{}_{}", item.name, i);
      const auto baselines = library_baselines(item.program, sizes);
      if (i == baselines.size()) break;
      const std::string& source = baselines[i].source;
      text += source.substr(source.find(dnnl_prelude()) + dnnl_prelude().size());
      entries.push_back({item, item.program.name, item.name + " " + baselines[i].name});
    }
  }
  return text;
}

void check_entry(const Entry& made, void* entry) {
  const WholeCase& item = made.item;
  std::vector<std::string> reads;
  for (const ir::InputDecl& input : item.program.inputs) reads.push_back(input.name);
  for (int64_t first : {item.sizes[0], item.sizes[1], item.sizes[0]}) {
    // The last meets the primitive made by the first.
    const ir::Sizes sizes = odd_sizes(item.program, first);
    const Tensors tensors = ir::run<double>(item.program, sizes, draw_inputs(item.program, sizes));
    check_call(made.title, tensors, reads, {"y"}, [&](const std::vector<float*>& data) {
      call_entry(entry, item.program, sizes, data);
    });
  }
}

TEST(LibraryWhole, AgreesWithTheDefinitionAtOddSizes) {
  std::string log;
  if (load_source("#include <oneapi/dnnl/dnnl.h>\n", "-ldnnl", &log) == nullptr)
    GTEST_SKIP() << "oneDNN is not installed";
  std::vector<Entry> entries;
  const std::string source = all_sources(entries);
  ASSERT_GE(entries.size(), whole_cases().size());
  void* library = load_source(source, "-O1 -ldnnl", &log);
  ASSERT_NE(library, nullptr) << log << source;
  for (const Entry& made : entries) {
    void* entry = dlsym(library, made.name.c_str());
    ASSERT_NE(entry, nullptr) << made.title;
    check_entry(made, entry);
  }
}

TEST(LibraryWhole, TellsEveryOperationFromTheOthers) {
  for (const WholeCase& item : whole_cases()) {
    const auto got = match_whole(item.program, odd_sizes(item.program, item.sizes[0]));
    ASSERT_TRUE(got.has_value()) << item.name;
    EXPECT_EQ(got->kind, item.kind) << item.name;
    EXPECT_EQ(item.kind == Kind::kMap ? got->map.name : got->algorithm, item.algorithm)
        << item.name;
  }
}

std::optional<WholeOperation> match(const ir::Program& program) {
  return match_whole(program, odd_sizes(program, 7));
}

TEST(LibraryWhole, ReadsParametersFromTheProgram) {
  EXPECT_NEAR(match(pointwise(leaky))->map.alpha, 0.01, 1e-12);
  EXPECT_EQ(match(norm(false, 2, 1e-5))->eps, 1e-5);
  EXPECT_EQ(match(norm(true, 1, 0.25))->eps, 0.25);
  EXPECT_EQ(match(norm(false, 2, 1e-5))->gamma, "g");
  EXPECT_EQ(match(norm(false, 2, 1e-5))->beta, "h");
  EXPECT_EQ(match(softmax(1, true))->axis, 1U);
  const auto pool = match(pooling({.kernel = 4, .stride = 3, .padding = 1}));
  EXPECT_EQ(pool->kernel[1], C(4));
  EXPECT_EQ(pool->stride[0], C(3));
  EXPECT_EQ(pool->before[0], C(1));
}

TEST(LibraryWhole, ReducesInTheWaysThatTheLibraryDoesWell) {
  const auto offered = [](const ir::Program& program) {
    std::string text;
    for (const BaselineSource& made : library_baselines(program, odd_sizes(program, 7)))
      text += made.name + " ";
    return text;
  };
  EXPECT_EQ(offered(reduction(2, ir::Monoid::kSum, false)), "onednn onednn-matmul ");
  EXPECT_EQ(offered(reduction(1, ir::Monoid::kSum, true)), "onednn-matmul ");
  EXPECT_EQ(offered(reduction(0, ir::Monoid::kMax, false)), "onednn-pooling ");
  EXPECT_EQ(offered(reduction(2, ir::Monoid::kMax, false)), "onednn ");
  EXPECT_EQ(offered(reduction(1, ir::Monoid::kMin, false)), "onednn ");
}

TEST(LibraryWhole, OffersNothingForProgramsThatOnlyLookAlike) {
  // A softmax whose sum leaves out the shift, a norm without its mean, a shifted copy, a map of the
  // position, a sum of squares, a window that runs backwards.
  ir::Program other = softmax(2, false);
  other.statements[1].body = op(Op::kExp, {L("x", {A("i"), A("j"), A("k")})});
  EXPECT_FALSE(match(other).has_value());
  other = norm(false, 2, 1e-5);
  other.statements[2].body = op(Op::kAbs, {L("x", {A("i"), A("j"), A("k")})});
  EXPECT_FALSE(match(other).has_value());
  other = pointwise(gelu);
  other.statements[0].body = L("x", {A("i"), S("n") - C(1) - A("j")});
  EXPECT_FALSE(match(other).has_value());
  other.statements[0].body = times(L("x", {A("i"), A("j")}), ir::index_value(A("j")));
  EXPECT_FALSE(match(other).has_value());
  other = reduction(2, ir::Monoid::kSum, false);
  other.statements[0].body = times(other.statements[0].body, other.statements[0].body);
  EXPECT_FALSE(match(other).has_value());
  other = pooling({.kernel = 3, .stride = 1, .padding = 1});
  other.statements[0].body.indices[2] = A("i") - A("r") + C(1);
  EXPECT_FALSE(match(other).has_value());
}

TEST(LibraryWhole, RefusesWindowsThatMayLieInPaddingAltogether) {
  EXPECT_FALSE(match(pooling({.kernel = 2, .stride = 1, .padding = 2})).has_value());
}

}  // namespace
}  // namespace quern
