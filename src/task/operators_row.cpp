// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "task/functions.h"
#include "task/operators.h"

/// Softmax, normalisations, losses, reductions and scans over axes, as statements.
namespace quern {
namespace {

using ir::Axis;
using ir::constant;
using ir::Expr;
using ir::int_axis;
using ir::int_binary;
using ir::int_constant;
using ir::IntExpr;
using ir::Monoid;
using ir::Op;

std::vector<IntExpr> at(const std::vector<Axis>& axes) {
  std::vector<IntExpr> list;
  for (const Axis& axis : axes) list.push_back(int_axis(axis.name));
  return list;
}
Expr over_count(Expr sum, const std::vector<Axis>& axes) {
  IntExpr count = int_constant(1);
  for (const Axis& axis : axes) count = count * axis.extent;
  return binary(Op::kDiv, std::move(sum), ir::index_value(std::move(count)));
}
Expr square(const Expr& a) { return binary(Op::kMul, a, a); }

const char* letters(size_t rank) {
  static constexpr const char* kLetters[] = {"", "i", "ij", "bij", "nchw", "ncdhw"};
  return rank < 6 ? kLetters[rank] : "";
}

/// The axes of `x` split by position: those named, and the others.
struct Split {
  std::vector<Axis> all, kept, over;
};

Split split(Expansion& e, const char* param, const std::vector<size_t>& positions) {
  Split made;
  std::vector<IntExpr> shape = e.shape(param);
  made.all = e.axes(letters(shape.size()), shape);
  for (size_t d = 0; d < made.all.size(); ++d) {
    bool named = std::find(positions.begin(), positions.end(), d) != positions.end();
    (named ? made.over : made.kept).push_back(made.all[d]);
  }
  return made;
}

Result<Split> split_option(Expansion& e, const char* param, int64_t fallback) {
  size_t rank = e.shape(param).size();
  if (rank == 0) return e.error(fmt::format("`{}` must have an axis", param));
  QUERN_ASSIGN(std::vector<size_t> positions, e.positions("axis", rank, fallback));
  return split(e, param, positions);
}

template <bool log_space>
Result<void> softmax(Expansion& e) {
  QUERN_ASSIGN(Split s, split_option(e, "x", -1));
  Expr x = ir::load(e.tensor("x"), at(s.all));
  std::string top = e.fresh("max"), total = e.fresh("sum");
  e.reduce(top, Monoid::kMax, s.kept, s.over, x);
  Expr shifted = binary(Op::kSub, x, ir::load(top, at(s.kept)));
  Expr sum = ir::load(total, at(s.kept));
  if (log_space) {
    e.reduce(total, Monoid::kSum, s.kept, s.over, unary(Op::kExp, shifted));
    e.map(e.target(), s.all, binary(Op::kSub, shifted, unary(Op::kLog, sum)));
    return {};
  }
  std::string power = e.fresh("exp");
  e.map(power, s.all, unary(Op::kExp, shifted));
  Expr raised = ir::load(power, at(s.all));
  e.reduce(total, Monoid::kSum, s.kept, s.over, raised);
  e.map(e.target(), s.all, binary(Op::kDiv, raised, sum));
  return {};
}

/// Scale and shift of a normalised value; each of them may be absent.
Result<Expr> affine(Expansion& e, Expr value, const std::vector<Axis>& axes) {
  for (const char* param : {"gamma", "beta"}) {
    if (!e.has(param)) continue;
    QUERN_TRY(e.want_rank(param, axes.size()));
    for (size_t d = 0; d < axes.size(); ++d) {
      QUERN_TRY(e.want_same(e.shape(param)[d], axes[d].extent,
                            fmt::format("extent {} of `{}`", d, param)));
    }
    Op op = std::string_view(param) == "gamma" ? Op::kMul : Op::kAdd;
    value = binary(op, std::move(value), ir::load(e.tensor(param), at(axes)));
  }
  return value;
}

/// Defines mean and 1 / sqrt(variance + eps) over `over` and yields the normalised value.
Expr normalised(Expansion& e, const std::vector<Axis>& kept, const std::vector<Axis>& over,
                const Expr& x, double eps, const Expr& mean_here, const Expr& scale_here,
                const std::string& mean, const std::string& scale, const Expr& placed) {
  std::string sum = e.fresh("sum"), squares = e.fresh("squares");
  e.reduce(sum, Monoid::kSum, kept, over, x);
  e.map(mean, kept, over_count(ir::load(sum, at(kept)), over));
  e.reduce(squares, Monoid::kSum, kept, over,
           square(binary(Op::kSub, x, ir::load(mean, at(kept)))));
  e.map(scale, kept,
        unary(Op::kRsqrt,
              binary(Op::kAdd, over_count(ir::load(squares, at(kept)), over), constant(eps))));
  return binary(Op::kMul, binary(Op::kSub, placed, mean_here), scale_here);
}

Result<void> normalise(Expansion& e, const Split& s, const std::vector<Axis>& affine_axes) {
  QUERN_ASSIGN(double eps, e.number("eps", 1e-5));
  std::string mean = e.fresh("mean"), scale = e.fresh("scale");
  Expr x = ir::load(e.tensor("x"), at(s.all));
  Expr value = normalised(e, s.kept, s.over, x, eps, ir::load(mean, at(s.kept)),
                          ir::load(scale, at(s.kept)), mean, scale, x);
  QUERN_ASSIGN(value, affine(e, std::move(value), affine_axes));
  e.map(e.target(), s.all, std::move(value));
  return {};
}

/// Over as many last axes as `gamma` has, else the last one.
Result<void> layer_norm(Expansion& e) {
  size_t rank = e.shape("x").size();
  size_t count = e.has("gamma") ? e.shape("gamma").size() : 1;
  if (count == 0 || count > rank) return e.error("`gamma` has more axes than `x`");
  std::vector<size_t> positions;
  for (size_t d = rank - count; d < rank; ++d) positions.push_back(d);
  Split s = split(e, "x", positions);
  return normalise(e, s, s.over);
}

Result<void> rms_norm(Expansion& e) {
  QUERN_ASSIGN(Split s, split_option(e, "x", -1));
  QUERN_ASSIGN(double eps, e.number("eps", 1e-5));
  Expr x = ir::load(e.tensor("x"), at(s.all));
  std::string squares = e.fresh("squares"), scale = e.fresh("scale");
  e.reduce(squares, Monoid::kSum, s.kept, s.over, square(x));
  e.map(scale, s.kept,
        unary(Op::kRsqrt,
              binary(Op::kAdd, over_count(ir::load(squares, at(s.kept)), s.over), constant(eps))));
  Expr value = binary(Op::kMul, x, ir::load(scale, at(s.kept)));
  if (e.has("gamma")) {
    QUERN_TRY(e.want_rank("gamma", s.over.size()));
    for (size_t d = 0; d < s.over.size(); ++d) {
      QUERN_TRY(e.want_same(e.shape("gamma")[d], s.over[d].extent, "`gamma`"));
    }
    value = binary(Op::kMul, std::move(value), ir::load(e.tensor("gamma"), at(s.over)));
  }
  e.map(e.target(), s.all, std::move(value));
  return {};
}

/// Statistics of each sample and channel.
Result<void> instance_norm(Expansion& e) {
  size_t rank = e.shape("x").size();
  if (rank < 3) return e.error("`x` must be [batch, channels, spatial…]");
  std::vector<size_t> positions;
  for (size_t d = 2; d < rank; ++d) positions.push_back(d);
  Split s = split(e, "x", positions);
  return normalise(e, s, {s.all[1]});
}

/// Statistics of each channel over the batch at hand.
Result<void> batch_norm(Expansion& e) {
  size_t rank = e.shape("x").size();
  if (rank < 2) return e.error("`x` must be [batch, channels, spatial…]");
  std::vector<size_t> positions = {0};
  for (size_t d = 2; d < rank; ++d) positions.push_back(d);
  Split s = split(e, "x", positions);
  return normalise(e, s, {s.all[1]});
}

/// Statistics of each sample and group of neighbouring channels.
Result<void> group_norm(Expansion& e) {
  std::vector<IntExpr> shape = e.shape("x");
  if (shape.size() < 2) return e.error("`x` must be [batch, channels, spatial…]");
  if (!e.given("groups")) return e.error("needs `groups = …`");
  QUERN_ASSIGN(std::vector<IntExpr> groups, e.integers("groups", 1, 1));
  QUERN_ASSIGN(double eps, e.number("eps", 1e-5));
  Split s = split(e, "x", {});
  IntExpr width = quotient(shape[1], groups[0]);
  QUERN_TRY(e.want_same(width * groups[0], shape[1], "groups do not divide the channels"));
  Axis group = e.axis("g", groups[0]), member = e.axis("k", width);
  std::vector<Axis> kept = {s.all[0], group}, over = {member};
  over.insert(over.end(), s.all.begin() + 2, s.all.end());
  std::vector<IntExpr> place = at(s.all),
                       statistics = {place[0], int_binary(IntExpr::Kind::kDiv, place[1], width)};
  place[1] = int_axis(group.name) * width + int_axis(member.name);
  std::string mean = e.fresh("mean"), scale = e.fresh("scale");
  Expr value =
      normalised(e, kept, over, ir::load(e.tensor("x"), place), eps, ir::load(mean, statistics),
                 ir::load(scale, statistics), mean, scale, ir::load(e.tensor("x"), at(s.all)));
  QUERN_ASSIGN(value, affine(e, std::move(value), {s.all[1]}));
  e.map(e.target(), s.all, std::move(value));
  return {};
}

/// Mean over the batch of -log softmax(logits)[label].
Result<void> cross_entropy(Expansion& e) {
  QUERN_TRY(e.want_rank("logits", 2));
  QUERN_TRY(e.want_rank("labels", 1));
  QUERN_TRY(e.want_same(e.shape("logits")[0], e.shape("labels")[0],
                        "batches of `logits` and `labels` differ"));
  Split s = split(e, "logits", {1});
  Expr x = ir::load(e.tensor("logits"), at(s.all));
  std::string top = e.fresh("max"), sum = e.fresh("sum"), each = e.fresh("each"),
              total = e.fresh("total");
  e.reduce(top, Monoid::kMax, s.kept, s.over, x);
  Expr greatest = ir::load(top, at(s.kept));
  e.reduce(sum, Monoid::kSum, s.kept, s.over, unary(Op::kExp, binary(Op::kSub, x, greatest)));
  IntExpr label;
  label.kind = IntExpr::Kind::kGather;
  label.name = e.tensor("labels");
  label.args = at(s.kept);
  Expr chosen = ir::load(e.tensor("logits"), {int_axis(s.kept[0].name), label});
  Expr gap = binary(Op::kSub, greatest, chosen);
  e.map(each, s.kept, binary(Op::kAdd, unary(Op::kLog, ir::load(sum, at(s.kept))), gap));
  e.reduce(total, Monoid::kSum, {}, s.kept, ir::load(each, at(s.kept)));
  e.map(e.target(), {}, over_count(ir::load(total, {}), s.kept));
  return {};
}

Result<void> mse_loss(Expansion& e) {
  std::vector<IntExpr> a = e.shape("a"), b = e.shape("b");
  if (a.empty()) return e.error("`a` must have an axis");
  QUERN_TRY(e.want_rank("b", a.size()));
  for (size_t d = 0; d < a.size(); ++d)
    QUERN_TRY(e.want_same(a[d], b[d], fmt::format("extent {}", d)));
  std::vector<Axis> axes = e.axes(letters(a.size()), a);
  std::string total = e.fresh("total");
  Expr gap = binary(Op::kSub, ir::load(e.tensor("a"), at(axes)), ir::load(e.tensor("b"), at(axes)));
  e.reduce(total, Monoid::kSum, {}, axes, square(gap));
  e.map(e.target(), {}, over_count(ir::load(total, {}), axes));
  return {};
}

template <Monoid monoid>
Result<void> reduce_axes(Expansion& e) {
  QUERN_ASSIGN(Split s, split_option(e, "x", -1));
  bool position = monoid == Monoid::kArgMax || monoid == Monoid::kArgMin;
  if (position && s.over.size() != 1) return e.error("runs over exactly one axis");
  e.reduce(e.target(), monoid, s.kept, s.over, ir::load(e.tensor("x"), at(s.all)));
  return {};
}

Result<void> mean(Expansion& e) {
  QUERN_ASSIGN(Split s, split_option(e, "x", -1));
  std::string sum = e.fresh("sum");
  e.reduce(sum, Monoid::kSum, s.kept, s.over, ir::load(e.tensor("x"), at(s.all)));
  e.map(e.target(), s.kept, over_count(ir::load(sum, at(s.kept)), s.over));
  return {};
}

template <Monoid monoid>
Result<void> cumulate(Expansion& e) {
  size_t rank = e.shape("x").size();
  if (rank == 0) return e.error("`x` must have an axis");
  QUERN_ASSIGN(std::vector<size_t> along, e.positions("axis", rank, -1));
  if (along.size() != 1) return e.error("runs along exactly one axis");
  QUERN_ASSIGN(bool exclusive, e.flag("exclusive"));
  QUERN_ASSIGN(bool reverse, e.flag("reverse"));
  Split s = split(e, "x", {});
  e.scan(e.target(), monoid, s.all, along[0], ir::load(e.tensor("x"), at(s.all)), exclusive,
         reverse);
  return {};
}

}  // namespace

std::vector<Operator> row_operators() {
  constexpr const char* kScan = "x, axis = -1, exclusive = false, reverse = false";
  return {
      {"softmax", "x, axis = -1", "exp(x) over its sum along an axis", softmax<false>},
      {"log_softmax", "x, axis = -1", "logarithm of softmax", softmax<true>},
      {"layer_norm", "x, gamma?, beta?, eps = 1e-5", "over as many last axes as gamma has",
       layer_norm},
      {"rms_norm", "x, gamma?, eps = 1e-5, axis = -1", "x over its root mean square", rms_norm},
      {"group_norm", "x, gamma?, beta?, groups = required, eps = 1e-5",
       "x [batch, channels, …] by groups of channels", group_norm},
      {"instance_norm", "x, gamma?, beta?, eps = 1e-5",
       "x [batch, channels, …] by sample and channel", instance_norm},
      {"batch_norm", "x, gamma?, beta?, eps = 1e-5",
       "x [batch, channels, …] by channel of this batch", batch_norm},
      {"cross_entropy", "logits, labels", "mean of -log softmax(logits)[label]", cross_entropy},
      {"mse_loss", "a, b", "mean of (a - b)^2", mse_loss},
      {"sum", "x, axis = -1", "sum over axes", reduce_axes<Monoid::kSum>},
      {"mean", "x, axis = -1", "mean over axes", mean},
      {"prod", "x, axis = -1", "product over axes", reduce_axes<Monoid::kProd>},
      {"max", "x, axis = -1", "greatest over axes", reduce_axes<Monoid::kMax>},
      {"min", "x, axis = -1", "least over axes", reduce_axes<Monoid::kMin>},
      {"argmax", "x, axis = -1", "first position of the greatest", reduce_axes<Monoid::kArgMax>},
      {"argmin", "x, axis = -1", "first position of the least", reduce_axes<Monoid::kArgMin>},
      {"cumsum", kScan, "running sum", cumulate<Monoid::kSum>},
      {"cumprod", kScan, "running product", cumulate<Monoid::kProd>},
      {"cummax", kScan, "running maximum", cumulate<Monoid::kMax>},
      {"cummin", kScan, "running minimum", cumulate<Monoid::kMin>},
  };
}

}  // namespace quern
