// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>

#include "task/operators.h"

/// matmul, linear, convolutions and attention as statements.
namespace quern {
namespace {

using ir::Axis;
using ir::Expr;
using ir::int_axis;
using ir::int_binary;
using ir::int_constant;
using ir::IntExpr;
using ir::Monoid;
using ir::Op;
using Kind = IntExpr::Kind;

IntExpr at(const Axis& axis) { return int_axis(axis.name); }
std::vector<IntExpr> all(const std::vector<Axis>& axes) {
  std::vector<IntExpr> list;
  for (const Axis& axis : axes) list.push_back(at(axis));
  return list;
}
Expr times(Expr a, Expr b) { return ir::apply(Op::kMul, {std::move(a), std::move(b)}); }
Expr plus(Expr a, Expr b) { return ir::apply(Op::kAdd, {std::move(a), std::move(b)}); }

/// [.., m, k] by [k, n], or by [.., k, n] with the same leading axes.
Result<void> matmul(Expansion& e) {
  std::vector<IntExpr> a = e.shape("a"), b = e.shape("b");
  bool batched = b.size() > 2;
  if (a.size() < 2 || a.size() > 4 || b.size() < 2 || (batched && a.size() != b.size())) {
    return e.error(
        fmt::format("cannot multiply a tensor of {} axes by one of {}", a.size(), b.size()));
  }
  size_t lead = a.size() - 2;
  QUERN_TRY(e.want_same(a[lead + 1], b[b.size() - 2], "the inner extents differ"));
  for (size_t d = 0; d < lead && batched; ++d) {
    QUERN_TRY(e.want_same(a[d], b[d], "the batch extents differ"));
  }
  std::vector<IntExpr> out = a;
  out[lead + 1] = b.back();
  static constexpr const char* kNames[] = {"ij", "bij", "bhij"};
  std::vector<Axis> axes = e.axes(kNames[lead], out);
  Axis k = e.axis("k", a[lead + 1]);
  std::vector<IntExpr> left = all(axes), right;
  left[lead + 1] = at(k);
  for (size_t d = 0; d < lead && batched; ++d) right.push_back(at(axes[d]));
  right.push_back(at(k));
  right.push_back(at(axes.back()));
  e.reduce(e.target(), Monoid::kSum, axes, {k},
           times(ir::load(e.tensor("a"), left), ir::load(e.tensor("b"), right)));
  return {};
}

/// x [.., in] by w [out, in] (rows are outputs), plus b [out].
Result<void> linear(Expansion& e) {
  std::vector<IntExpr> x = e.shape("x"), w = e.shape("w");
  QUERN_TRY(e.want_rank("w", 2));
  if (x.empty() || x.size() > 4) return e.error("`x` must have 1 to 4 axes");
  QUERN_TRY(e.want_same(x.back(), w[1], "the last extent of `x` is not the second of `w`"));
  std::vector<IntExpr> out = x;
  out.back() = w[0];
  static constexpr const char* kNames[] = {"o", "io", "bio", "bhio"};
  std::vector<Axis> axes = e.axes(kNames[x.size() - 1], out);
  Axis k = e.axis("k", w[1]);
  std::vector<IntExpr> left = all(axes);
  left.back() = at(k);
  std::string product = e.has("b") ? e.fresh("product") : e.target();
  e.reduce(product, Monoid::kSum, axes, {k},
           times(ir::load(e.tensor("x"), left), ir::load(e.tensor("w"), {at(axes.back()), at(k)})));
  if (!e.has("b")) return {};
  QUERN_TRY(e.want_rank("b", 1));
  QUERN_TRY(e.want_same(e.shape("b")[0], w[0], "`b` has not one value for each output"));
  e.map(e.target(), axes,
        plus(ir::load(product, all(axes)), ir::load(e.tensor("b"), {at(axes.back())})));
  return {};
}

/// The options of a convolution over `n` spatial axes.
struct Window {
  std::vector<IntExpr> stride, padding, dilation;
  IntExpr groups;
};

Result<Window> window(Expansion& e, size_t n) {
  Window made;
  QUERN_ASSIGN(made.stride, e.integers("stride", n, 1));
  QUERN_ASSIGN(made.padding, e.integers("padding", n, 0));
  QUERN_ASSIGN(made.dilation, e.integers("dilation", n, 1));
  QUERN_ASSIGN(std::vector<IntExpr> groups, e.integers("groups", 1, 1));
  made.groups = groups[0];
  return made;
}

const char* spatial_letters(size_t n) { return n == 1 ? "t" : n == 2 ? "hw" : "dhw"; }
const char* kernel_letters(size_t n) { return n == 1 ? "r" : n == 2 ? "rs" : "qrs"; }

Result<void> add_bias(Expansion& e, const std::string& sum, const std::vector<Axis>& axes) {
  if (!e.has("b")) return {};
  QUERN_TRY(e.want_rank("b", 1));
  QUERN_TRY(e.want_same(e.shape("b")[0], axes[1].extent,
                        "`b` has not one value for each output channel"));
  e.map(e.target(), axes, plus(ir::load(sum, all(axes)), ir::load(e.tensor("b"), {at(axes[1])})));
  return {};
}

/// x [batch, in, spatial…], w [out, in / groups, kernel…], b [out].
template <size_t n>
Result<void> conv(Expansion& e) {
  QUERN_TRY(e.want_rank("x", n + 2));
  QUERN_TRY(e.want_rank("w", n + 2));
  QUERN_ASSIGN(Window win, window(e, n));
  std::vector<IntExpr> x = e.shape("x"), w = e.shape("w");
  QUERN_TRY(
      e.want_same(x[1], w[1] * win.groups, "channels of `x` are not groups times those of `w`"));
  std::vector<Axis> axes = e.axes("no", {x[0], w[0]});
  std::vector<Axis> taps;
  std::vector<IntExpr> places;
  bool padded = false;
  for (size_t d = 0; d < n; ++d) {
    axes.push_back(
        e.axis(std::string(1, spatial_letters(n)[d]),
               window_places(x[d + 2], w[d + 2], win.stride[d], win.padding[d], win.dilation[d])));
    taps.push_back(e.axis(std::string(1, kernel_letters(n)[d]), w[d + 2]));
    places.push_back(at(axes.back()) * win.stride[d] + at(taps.back()) * win.dilation[d] -
                     win.padding[d]);
    padded = padded || !(win.padding[d] == int_constant(0));
  }
  // One input channel a group and as many groups as channels: depthwise, no channel sum at all.
  bool depthwise = w[1] == int_constant(1);
  Axis channel = e.axis("c", w[1]);
  IntExpr per_group = quotient(w[0], win.groups);
  IntExpr group = win.groups == int_constant(1) ? int_constant(0)
                                                : int_binary(Kind::kDiv, at(axes[1]), per_group);
  std::vector<IntExpr> from = {at(axes[0]),
                               group * w[1] + (depthwise ? int_constant(0) : at(channel))};
  std::vector<IntExpr> weight = {at(axes[1]), depthwise ? int_constant(0) : at(channel)};
  from.insert(from.end(), places.begin(), places.end());
  for (const Axis& tap : taps) weight.push_back(at(tap));
  Expr value =
      padded ? ir::load_else(e.tensor("x"), from, ir::constant(0)) : ir::load(e.tensor("x"), from);
  std::vector<Axis> over = taps;
  if (!depthwise) over.insert(over.begin(), channel);
  std::string sum = e.has("b") ? e.fresh("sum") : e.target();
  e.reduce(sum, Monoid::kSum, axes, over, times(std::move(value), ir::load(e.tensor("w"), weight)));
  return add_bias(e, sum, axes);
}

/// x [batch, in, spatial…], w [in, out / groups, kernel…], b [out]. Each output place gathers the
/// input places whose window covers it: those where the stride divides the distance.
template <size_t n>
Result<void> conv_transpose(Expansion& e) {
  QUERN_TRY(e.want_rank("x", n + 2));
  QUERN_TRY(e.want_rank("w", n + 2));
  QUERN_ASSIGN(Window win, window(e, n));
  QUERN_ASSIGN(std::vector<IntExpr> extra, e.integers("output_padding", n, 0));
  std::vector<IntExpr> x = e.shape("x"), w = e.shape("w");
  QUERN_TRY(e.want_same(x[1], w[0], "channels of `x` are not the first extent of `w`"));
  std::vector<Axis> axes = e.axes("no", {x[0], w[1] * win.groups});
  std::vector<Axis> taps;
  std::vector<IntExpr> places;
  std::vector<Expr> divides;
  for (size_t d = 0; d < n; ++d) {
    IntExpr beyond =
        window_reach(w[d + 2], win.dilation[d]) - int_constant(2) * win.padding[d] + extra[d];
    IntExpr extent = total((x[d + 2] - int_constant(1)) * win.stride[d], beyond);
    axes.push_back(e.axis(std::string(1, spatial_letters(n)[d]), extent));
    taps.push_back(e.axis(std::string(1, kernel_letters(n)[d]), w[d + 2]));
    IntExpr distance = at(axes.back()) + win.padding[d] - at(taps.back()) * win.dilation[d];
    places.push_back(int_binary(Kind::kDiv, distance, win.stride[d]));
    if (win.stride[d] == int_constant(1)) continue;
    IntExpr rest = int_binary(Kind::kMod, distance, win.stride[d]);
    divides.push_back(
        ir::apply(Op::kEq, {ir::index_value(std::move(rest)), ir::index_value(int_constant(0))}));
  }
  bool one_group = win.groups == int_constant(1);
  Axis channel = e.axis("c", quotient(w[0], win.groups));
  IntExpr in = one_group ? at(channel)
                         : int_binary(Kind::kDiv, at(axes[1]), w[1]) * channel.extent + at(channel);
  IntExpr out = one_group ? at(axes[1]) : int_binary(Kind::kMod, at(axes[1]), w[1]);
  std::vector<IntExpr> from = {at(axes[0]), in}, weight = {in, out};
  from.insert(from.end(), places.begin(), places.end());
  for (const Axis& tap : taps) weight.push_back(at(tap));
  Expr body =
      times(ir::load_else(e.tensor("x"), from, ir::constant(0)), ir::load(e.tensor("w"), weight));
  if (!divides.empty()) {
    Expr guard = divides[0];
    for (size_t i = 1; i < divides.size(); ++i) guard = ir::apply(Op::kAnd, {guard, divides[i]});
    body = ir::apply(Op::kSelect, {std::move(guard), std::move(body), ir::constant(0)});
  }
  std::vector<Axis> over = {channel};
  over.insert(over.end(), taps.begin(), taps.end());
  std::string sum = e.has("b") ? e.fresh("sum") : e.target();
  e.reduce(sum, Monoid::kSum, axes, over, std::move(body));
  return add_bias(e, sum, axes);
}

/// softmax(q k^T / sqrt(width)) v over the last two axes; `causal` hides later keys.
Result<void> attention(Expansion& e) {
  std::vector<IntExpr> q = e.shape("q"), k = e.shape("k"), v = e.shape("v");
  size_t rank = q.size();
  if (rank < 2 || rank > 4 || k.size() != rank || v.size() != rank) {
    return e.error("`q`, `k` and `v` must have the same number of axes, 2 to 4");
  }
  for (size_t d = 0; d + 2 < rank; ++d) {
    QUERN_TRY(e.want_same(q[d], k[d], "leading extents of `q` and `k` differ"));
    QUERN_TRY(e.want_same(q[d], v[d], "leading extents of `q` and `v` differ"));
  }
  QUERN_TRY(e.want_same(q[rank - 1], k[rank - 1], "widths of `q` and `k` differ"));
  QUERN_TRY(e.want_same(k[rank - 2], v[rank - 2], "`k` and `v` differ in length"));
  QUERN_ASSIGN(bool causal, e.flag("causal"));
  std::vector<Axis> lead = e.axes(rank == 4 ? "bh" : "b", {q.begin(), q.end() - 2});
  Axis i = e.axis("i", q[rank - 2]), j = e.axis("j", k[rank - 2]), d = e.axis("d", q[rank - 1]);
  auto with = [&](std::initializer_list<Axis> tail) {
    std::vector<Axis> axes = lead;
    axes.insert(axes.end(), tail);
    return axes;
  };
  std::string dots = e.fresh("dot"), scores = e.fresh("score");
  e.reduce(dots, Monoid::kSum, with({i, j}), {d},
           times(ir::load(e.tensor("q"), all(with({i, d}))),
                 ir::load(e.tensor("k"), all(with({j, d})))));
  Expr scaled = ir::apply(Op::kDiv, {ir::load(dots, all(with({i, j}))),
                                     ir::apply(Op::kSqrt, {ir::index_value(q[rank - 1])})});
  if (causal) {
    Expr seen = ir::apply(Op::kLe, {ir::index_value(at(j)), ir::index_value(at(i))});
    scaled = ir::apply(Op::kSelect, {std::move(seen), std::move(scaled), ir::constant(-INFINITY)});
  }
  e.map(scores, with({i, j}), std::move(scaled));
  std::string top = e.fresh("max"), weight = e.fresh("exp"), total = e.fresh("sum"),
              mixed = e.fresh("mix");
  Expr score = ir::load(scores, all(with({i, j})));
  e.reduce(top, Monoid::kMax, with({i}), {j}, score);
  e.map(weight, with({i, j}),
        ir::apply(Op::kExp, {ir::apply(Op::kSub, {score, ir::load(top, all(with({i})))})}));
  e.reduce(total, Monoid::kSum, with({i}), {j}, ir::load(weight, all(with({i, j}))));
  Axis f = e.axis("f", v[rank - 1]);
  e.reduce(mixed, Monoid::kSum, with({i, f}), {j},
           times(ir::load(weight, all(with({i, j}))), ir::load(e.tensor("v"), all(with({j, f})))));
  e.map(e.target(), with({i, f}),
        ir::apply(Op::kDiv, {ir::load(mixed, all(with({i, f}))), ir::load(total, all(with({i})))}));
  return {};
}

}  // namespace

std::vector<Operator> contraction_operators() {
  constexpr const char* kConv = "x, w, b?, stride = 1, padding = 0, dilation = 1, groups = 1";
  constexpr const char* kTransposed =
      "x, w, b?, stride = 1, padding = 0, output_padding = 0, dilation = 1, groups = 1";
  return {
      {"matmul", "a, b", "[.., m, k] by [k, n] or [.., k, n]", matmul},
      {"linear", "x, w, b?", "x [.., in] by w [out, in], plus b [out]", linear},
      {"conv1d", kConv, "x [batch, in, t], w [out, in / groups, r]", conv<1>},
      {"conv2d", kConv, "x [batch, in, h, w], w [out, in / groups, r, s]", conv<2>},
      {"conv3d", kConv, "x [batch, in, d, h, w], w [out, in / groups, q, r, s]", conv<3>},
      {"conv_transpose1d", kTransposed, "x [batch, in, t], w [in, out / groups, r]",
       conv_transpose<1>},
      {"conv_transpose2d", kTransposed, "x [batch, in, h, w], w [in, out / groups, r, s]",
       conv_transpose<2>},
      {"conv_transpose3d", kTransposed, "x [batch, in, d, h, w], w [in, out / groups, q, r, s]",
       conv_transpose<3>},
      {"attention", "q, k, v, causal = false",
       "softmax(q k^T / sqrt(width)) v over the last two axes", attention},
  };
}

}  // namespace quern
