// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "task/operators.h"

/// Pooling as statements.
namespace quern {
namespace {

using ir::Axis;
using ir::Expr;
using ir::int_axis;
using ir::int_constant;
using ir::IntExpr;
using ir::Monoid;

/// Axes of the output, the window's own axes, and the place each tap reads.
struct Pool {
  std::vector<Axis> axes, taps;
  std::vector<IntExpr> places;
  IntExpr count = int_constant(1);
  bool padded = false;
};

Result<Pool> pool(Expansion& e, size_t n, bool dilated) {
  QUERN_TRY(e.want_rank("x", n + 2));
  if (!e.given("kernel")) return e.error("needs `kernel = …`");
  QUERN_ASSIGN(std::vector<IntExpr> kernel, e.integers("kernel", n, 1));
  QUERN_ASSIGN(std::vector<IntExpr> stride, e.integers("stride", n, 1));
  if (!e.given("stride")) stride = kernel;
  QUERN_ASSIGN(std::vector<IntExpr> padding, e.integers("padding", n, 0));
  std::vector<IntExpr> dilation(n, int_constant(1));
  if (dilated) {
    QUERN_ASSIGN(dilation, e.integers("dilation", n, 1));
  }
  std::vector<IntExpr> x = e.shape("x");
  const std::string letters = n == 1   ? "t"
                              : n == 2 ? "hw"
                                       : "dhw",
                    inner = n == 1   ? "r"
                            : n == 2 ? "rs"
                                     : "qrs";
  Pool made;
  made.axes = e.axes("nc", {x[0], x[1]});
  for (const Axis& axis : made.axes) made.places.push_back(int_axis(axis.name));
  for (size_t d = 0; d < n; ++d) {
    made.axes.push_back(e.axis(letters.substr(d, 1), window_places(x[d + 2], kernel[d], stride[d],
                                                                   padding[d], dilation[d])));
    made.taps.push_back(e.axis(inner.substr(d, 1), kernel[d]));
    made.places.push_back(int_axis(made.axes.back().name) * stride[d] +
                          int_axis(made.taps.back().name) * dilation[d] - padding[d]);
    made.count = made.count * kernel[d];
    made.padded = made.padded || !(padding[d] == int_constant(0));
  }
  return made;
}

Expr window_value(Expansion& e, const Pool& made, double outside) {
  if (!made.padded) return ir::load(e.tensor("x"), made.places);
  return ir::load_else(e.tensor("x"), made.places, ir::constant(outside));
}

template <size_t n>
Result<void> max_pool(Expansion& e) {
  QUERN_ASSIGN(Pool made, pool(e, n, true));
  e.reduce(e.target(), Monoid::kMax, made.axes, made.taps, window_value(e, made, -INFINITY));
  return {};
}

Result<void> divide_by(Expansion& e, const std::string& sum, const std::vector<Axis>& axes,
                       IntExpr count) {
  std::vector<IntExpr> indices;
  for (const Axis& axis : axes) indices.push_back(int_axis(axis.name));
  e.map(e.target(), axes,
        ir::apply(ir::Op::kDiv, {ir::load(sum, indices), ir::index_value(std::move(count))}));
  return {};
}

/// Padding counts as zeros: the divisor is the whole window.
template <size_t n>
Result<void> avg_pool(Expansion& e) {
  QUERN_ASSIGN(Pool made, pool(e, n, false));
  std::string sum = e.fresh("sum");
  e.reduce(sum, Monoid::kSum, made.axes, made.taps, window_value(e, made, 0));
  return divide_by(e, sum, made.axes, made.count);
}

/// Mean over every axis after the channels: [batch, channels].
Result<void> global_avg_pool(Expansion& e) {
  std::vector<IntExpr> x = e.shape("x");
  if (x.size() < 3 || x.size() > 5) return e.error("`x` must have 3 to 5 axes");
  static constexpr const char* kLetters[] = {"nct", "nchw", "ncdhw"};
  std::vector<Axis> all = e.axes(kLetters[x.size() - 3], x);
  std::vector<Axis> axes(all.begin(), all.begin() + 2), over(all.begin() + 2, all.end());
  std::vector<IntExpr> indices;
  for (const Axis& axis : all) indices.push_back(int_axis(axis.name));
  IntExpr count = int_constant(1);
  for (const Axis& axis : over) count = count * axis.extent;
  std::string sum = e.fresh("sum");
  e.reduce(sum, Monoid::kSum, axes, over, ir::load(e.tensor("x"), indices));
  return divide_by(e, sum, axes, count);
}

}  // namespace

std::vector<Operator> window_operators() {
  constexpr const char* kMax = "x, kernel = required, stride = kernel, padding = 0, dilation = 1";
  constexpr const char* kMean = "x, kernel = required, stride = kernel, padding = 0";
  return {
      {"max_pool1d", kMax, "greatest of each window of x [batch, channels, t]", max_pool<1>},
      {"max_pool2d", kMax, "greatest of each window of x [batch, channels, h, w]", max_pool<2>},
      {"max_pool3d", kMax, "greatest of each window of x [batch, channels, d, h, w]", max_pool<3>},
      {"avg_pool1d", kMean, "mean of each window of x [batch, channels, t]; padding counts",
       avg_pool<1>},
      {"avg_pool2d", kMean, "mean of each window of x [batch, channels, h, w]; padding counts",
       avg_pool<2>},
      {"avg_pool3d", kMean, "mean of each window of x [batch, channels, d, h, w]; padding counts",
       avg_pool<3>},
      {"global_avg_pool", "x", "mean over every axis after the channels", global_avg_pool},
  };
}

}  // namespace quern
