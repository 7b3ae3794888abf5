// SPDX-License-Identifier: Apache-2.0
#include "codegen/library_whole.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <set>

#include "codegen/library_match.h"
#include "ir/check.h"
#include "ir/interpret.h"

namespace quern {

using ir::Axis;
using ir::Expr;
using ir::IntExpr;
using Values = std::vector<double>;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

IntExpr product(const std::vector<IntExpr>& extents) {
  IntExpr total = ir::int_constant(1);
  for (const IntExpr& extent : extents) total = total * extent;
  return total;
}

int64_t product(const Shape& shape, size_t from, size_t to) {
  int64_t total = 1;
  for (size_t d = from; d < to; ++d) total *= shape[d];
  return total;
}

bool close(const Values& a, const Values& b, double tolerance = 1e-9) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [&](double p, double q) {
           return p == q || (std::isnan(p) && std::isnan(q)) ||
                  std::fabs(p - q) <= tolerance * (1 + std::fabs(q));
         });
}

/// The program run once at small sizes.
struct Trial {
  ir::Sizes sizes;
  ir::Tensors<double> tensors;
};

/// Elements computed by one run: bounds what a trial costs.
int64_t work_of(const ir::Program& program, const ir::Sizes& sizes) {
  int64_t total = 0;
  for (const ir::Statement& statement : program.statements) {
    double points = 1;
    for (const auto* axes : {&statement.axes, &statement.reduce_axes}) {
      for (const Axis& axis : *axes)
        points *= static_cast<double>(ir::evaluate(axis.extent, sizes));
    }
    if (points > 1e9) return std::numeric_limits<int64_t>::max();
    total += static_cast<int64_t>(points);
  }
  return total;
}

ir::Tensors<double> draw(const ir::Program& program, const ir::Sizes& sizes, uint32_t seed) {
  std::mt19937 random(seed);
  ir::Tensors<double> tensors;
  for (const ir::InputDecl& input : program.inputs) {
    Values& values = tensors[input.name];
    values.resize(static_cast<size_t>(element_count(ir::shape_of(program, input.name, sizes))));
    for (double& value : values) value = static_cast<double>(random() % 4096) / 1024 - 2;
  }
  return tensors;
}

/// Up to three runs at sizes that differ from each other; too few where sizes must obey rules that
/// none of the tried ones do.
std::vector<Trial> run_trials(const ir::Program& program) {
  constexpr int64_t kMostWork = 400'000;
  std::vector<Trial> trials;
  // Steps of 4 and 8 and none: for sizes that must be divisible.
  for (const auto& [first, step] : {std::pair<int64_t, int64_t>{2, 1},
                                    {5, 2},
                                    {4, 4},
                                    {8, 4},
                                    {8, 8},
                                    {13, 1},
                                    {16, 0},
                                    {24, 5},
                                    {35, 1}}) {
    std::map<std::string, int64_t> free;
    int64_t value = first;
    for (const std::string& size : program.free_sizes()) free[size] = value, value += step;
    auto sizes = ir::bind_sizes(program, free);
    if (!sizes || ir::find_size_fault(program, *sizes) || work_of(program, *sizes) > kMostWork) {
      continue;
    }
    auto inputs = draw(program, *sizes, static_cast<uint32_t>(first));
    trials.push_back({*sizes, ir::run<double>(program, *sizes, inputs)});
    if (trials.size() == 3) break;
  }
  return trials;
}

double reduced(const std::string& algorithm, const Values& values) {
  double sum = 0, greatest = -kInfinity, least = kInfinity, factor = 1;
  for (double v : values) {
    sum += v, factor *= v;
    greatest = std::max(greatest, v), least = std::min(least, v);
  }
  if (algorithm == "sum") return sum;
  if (algorithm == "mean") return sum / static_cast<double>(values.size());
  if (algorithm == "max") return greatest;
  return algorithm == "min" ? least : factor;
}

/// `x` reduced over the dimensions in `mask`.
Values reduction_of(const std::string& algorithm, const Values& x, const Shape& shape,
                    unsigned mask) {
  std::map<int64_t, Values> groups;  // by position in the result
  for (size_t i = 0; i < x.size(); ++i) {
    int64_t rest = static_cast<int64_t>(i), at = 0, stride = 1;
    for (size_t d = shape.size(); d-- > 0; rest /= shape[d]) {
      if (mask >> d & 1) continue;
      at += rest % shape[d] * stride;
      stride *= shape[d];
    }
    groups[at].push_back(x[i]);
  }
  Values y;
  for (const auto& [at, values] : groups) y.push_back(reduced(algorithm, values));
  return y;
}

Values softmax_of(const Values& x, const Shape& shape, size_t axis, bool log_space) {
  const auto n = static_cast<size_t>(shape[axis]);
  const auto inner = static_cast<size_t>(product(shape, axis + 1, shape.size()));
  Values y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    if (i / inner % n != 0) continue;
    double total = 0;
    for (size_t j = 0; j < n; ++j) total += std::exp(x[i + j * inner]);
    for (size_t j = 0; j < n; ++j) {
      const double v = x[i + j * inner];
      y[i + j * inner] = log_space ? v - std::log(total) : std::exp(v) / total;
    }
  }
  return y;
}

Values normalised(const Values& x, size_t columns, double eps) {
  Values y(x.size());
  const auto count = static_cast<double>(columns);
  for (size_t row = 0; row < x.size(); row += columns) {
    double mean = 0, variance = 0;
    for (size_t j = 0; j < columns; ++j) mean += x[row + j] / count;
    for (size_t j = 0; j < columns; ++j) variance += std::pow(x[row + j] - mean, 2) / count;
    for (size_t j = 0; j < columns; ++j)
      y[row + j] = (x[row + j] - mean) / std::sqrt(variance + eps);
  }
  return y;
}

/// Steps a point through `extents`; false at the end.
bool step(Shape& point, const Shape& extents) {
  for (size_t d = extents.size(); d-- > 0;) {
    if (++point[d] < extents[d]) return true;
    point[d] = 0;
  }
  return false;
}

Values pooling_of(const WholeOperation& op, const Values& x, const ir::Sizes& sizes) {
  const Shape in = ir::evaluate_shape(op.x_dims, sizes), out = ir::evaluate_shape(op.y_dims, sizes);
  const Shape kernel = ir::evaluate_shape(op.kernel, sizes);
  const Shape stride = ir::evaluate_shape(op.stride, sizes);
  const Shape gap = ir::evaluate_shape(op.gap, sizes), pad = ir::evaluate_shape(op.before, sizes);
  Values y;
  Shape at(out.size(), 0);
  do {
    Values seen;
    Shape tap(kernel.size(), 0);
    do {
      int64_t place = at[0] * in[1] + at[1];
      bool inside = true;
      for (size_t d = 0; d < kernel.size(); ++d) {
        const int64_t i = at[d + 2] * stride[d] + tap[d] * (gap[d] + 1) - pad[d];
        inside &= i >= 0 && i < in[d + 2];
        place = place * in[d + 2] + i;
      }
      if (inside) seen.push_back(x[static_cast<size_t>(place)]);
    } while (step(tap, kernel));
    double value = reduced(op.algorithm == "max" ? "max" : "sum", seen);
    if (op.algorithm == "avg_include_padding")
      value /= static_cast<double>(product(kernel, 0, kernel.size()));
    if (op.algorithm == "avg_exclude_padding") value /= static_cast<double>(seen.size());
    y.push_back(value);
  } while (step(at, out));
  return y;
}

void collect_constants(const Expr& expr, std::set<double>& into) {
  if (expr.kind == Expr::Kind::kConstant) into.insert(expr.value);
  for (const Expr& arg : expr.args) collect_constants(arg, into);
}

class WholeMatcher {
 public:
  WholeMatcher(const ir::Program& program, const ir::Sizes& sizes)
      : program_(program), sizes_(sizes) {}

  std::optional<WholeOperation> match() {
    if (!candidate()) return std::nullopt;
    trials_ = run_trials(program_);
    if (trials_.size() < 2) return std::nullopt;
    op_.x_dims = program_.shape_of(op_.x);
    op_.y_dims = program_.shape_of(op_.y);
    const bool alone = program_.inputs.size() == 1;
    if ((alone && (map() || softmax() || pooling() || reduction())) || norm()) return op_;
    return std::nullopt;
  }

 private:
  using Kind = WholeOperation::Kind;

  /// Names x and y: f32 throughout, one output, x the one input of the highest rank.
  bool candidate() {
    const auto outputs = program_.outputs();
    if (outputs.size() != 1 || program_.inputs.empty() || program_.inputs.size() > 3) return false;
    op_.y = outputs[0]->name;
    size_t rank = 0;
    for (const ir::InputDecl& input : program_.inputs) {
      if (input.type != DType::kF32) return false;
      if (input.shape.size() > rank) rank = input.shape.size(), op_.x = input.name;
    }
    return rank > 0 && rank <= 5 &&
           std::all_of(program_.statements.begin(), program_.statements.end(),
                       [](const ir::Statement& statement) {
                         return statement.type == DType::kF32 &&
                                statement.kind != ir::Statement::Kind::kScan;
                       });
  }

  Shape shape(const std::string& tensor, const Trial& trial) const {
    return ir::shape_of(program_, tensor, trial.sizes);
  }
  bool same_shape() const {
    return std::all_of(trials_.begin(), trials_.end(),
                       [&](const Trial& t) { return shape(op_.x, t) == shape(op_.y, t); });
  }
  /// Whether `formula` gives the program's output in every trial.
  bool confirmed(const std::function<Values(const Trial&)>& formula,
                 double tolerance = 1e-9) const {
    return std::all_of(trials_.begin(), trials_.end(), [&](const Trial& t) {
      return close(formula(t), t.tensors.at(op_.y), tolerance);
    });
  }

  bool map() {
    if (!same_shape()) return false;
    const Trial& small = trials_[0];
    auto at = [&](double x) -> std::optional<double> {
      ir::Tensors<double> inputs;
      inputs[op_.x].assign(small.tensors.at(op_.x).size(), x);
      return ir::run<double>(program_, small.sizes, inputs).at(op_.y)[0];
    };
    auto found = match_function(at);
    if (!found) return false;
    const bool same = confirmed(
        [&](const Trial& t) {
          Values y = t.tensors.at(op_.x);
          for (double& v : y) v = activation_value(*found, v);
          return y;
        },
        1e-6);
    if (!same) return false;
    op_.kind = Kind::kMap;
    op_.map = *found;
    op_.x_dims = op_.y_dims = {product(op_.x_dims)};
    return true;
  }

  bool softmax() {
    if (!same_shape()) return false;
    op_.kind = Kind::kSoftmax;
    for (op_.axis = op_.x_dims.size(); op_.axis-- > 0;) {
      for (const char* algorithm : {"accurate", "log"}) {
        op_.algorithm = algorithm;
        if (confirmed([&](const Trial& t) {
              return softmax_of(t.tensors.at(op_.x), shape(op_.x, t), op_.axis,
                                op_.algorithm == "log");
            })) {
          return true;
        }
      }
    }
    op_.axis = 0;
    return false;
  }

  bool reduction() {
    op_.kind = Kind::kReduction;
    for (unsigned mask = 1; mask < 1U << op_.x_dims.size(); ++mask) {
      if (!fits(mask)) continue;
      for (const char* algorithm : {"sum", "mean", "max", "min", "mul"}) {
        if (!confirmed([&](const Trial& t) {
              return reduction_of(algorithm, t.tensors.at(op_.x), shape(op_.x, t), mask);
            })) {
          continue;
        }
        op_.algorithm = algorithm;
        op_.y_dims = op_.x_dims;
        for (size_t d = 0; d < op_.x_dims.size(); ++d)
          if (mask >> d & 1) op_.y_dims[d] = ir::int_constant(1);
        view_reduced(mask);
        return true;
      }
    }
    return false;
  }
  void view_reduced(unsigned mask) {
    size_t from = 0;
    while (!(mask >> from & 1)) ++from;
    size_t to = from;
    while (mask >> to & 1) ++to;
    op_.neighbours = mask >> to == 0;
    view(op_.x_dims, from, to);
  }
  /// Views x as [outer, middle, inner], the middle from dimension `from` to before `to`.
  void view(const std::vector<IntExpr>& dims, size_t from, size_t to) {
    const auto at = [&](size_t d) { return dims.begin() + static_cast<int64_t>(d); };
    op_.outer = product({at(0), at(from)});
    op_.middle = product({at(from), at(to)});
    op_.inner = product({at(to), dims.end()});
  }
  /// Whether the output is as large as what the reduction over `mask` leaves.
  bool fits(unsigned mask) const {
    return std::all_of(trials_.begin(), trials_.end(), [&](const Trial& t) {
      const Shape x = shape(op_.x, t);
      int64_t left = 1;
      for (size_t d = 0; d < x.size(); ++d) left *= mask >> d & 1 ? 1 : x[d];
      return left == element_count(shape(op_.y, t));
    });
  }

  /// The first reduction tells the window; the values tell what is done with it.
  bool pooling() {
    const ir::Statement& root = program_.statements[0];
    const size_t rank = op_.x_dims.size();
    if (root.kind != ir::Statement::Kind::kReduce || rank < 3 || root.axes.size() != rank ||
        op_.y_dims.size() != rank || root.reduce_axes.size() != rank - 2 || !window(root)) {
      return false;
    }
    op_.kind = Kind::kPooling;
    for (const char* algorithm : {"max", "avg_include_padding", "avg_exclude_padding"}) {
      op_.algorithm = algorithm;
      if (confirmed(
              [&](const Trial& t) { return pooling_of(op_, t.tensors.at(op_.x), t.sizes); })) {
        return true;
      }
    }
    return false;
  }
  bool window(const ir::Statement& root) {
    const Expr& load = root.body;
    if (load.kind != Expr::Kind::kLoad || load.name != op_.x) return false;
    for (size_t d = 0; d < 2; ++d) {
      if (!(load.indices[d] == ir::int_axis(root.axes[d].name))) return false;
    }
    for (size_t d = 2; d < root.axes.size(); ++d) {
      std::optional<Axis> tap;
      for (const Axis& axis : root.reduce_axes) {
        if (!ir::uses_axis(load.indices[d], axis.name)) continue;
        if (tap) return false;
        tap = axis;
      }
      if (!tap || !window_dimension(load.indices[d], d, root.axes[d], *tap)) return false;
    }
    return true;
  }
  bool window_dimension(const IntExpr& place, size_t d, const Axis& out, const Axis& tap) {
    auto stride = coefficient(place, out), gap = coefficient(place, tap);
    if (!stride || !gap) return false;
    const IntExpr zero = ir::int_constant(0), one = ir::int_constant(1);
    const IntExpr before = zero - ir::substitute(place, {out.name, tap.name}, {zero, zero});
    const IntExpr reach = (tap.extent - one) * *gap;
    const IntExpr after = (out.extent - one) * *stride + reach + one - op_.x_dims[d] - before;
    // A window that lies in the padding altogether is not the same to the library.
    for (const IntExpr& padding : {before, after}) {
      if (ir::evaluate(padding, sizes_) > ir::evaluate(reach, sizes_)) return false;
    }
    if (ir::evaluate(before, sizes_) < 0) return false;
    op_.kernel.push_back(tap.extent);
    op_.stride.push_back(*stride);
    op_.gap.push_back(*gap - one);
    op_.before.push_back(before);
    op_.after.push_back(after);
    return true;
  }

  /// The first sum tells how many elements share a mean; the constants, what eps may be.
  bool norm() {
    auto sum =
        std::find_if(program_.statements.begin(), program_.statements.end(),
                     [](const ir::Statement& s) { return s.kind == ir::Statement::Kind::kReduce; });
    if (sum == program_.statements.end() || !same_shape()) return false;
    std::vector<IntExpr> over, kept;
    for (const Axis& axis : sum->reduce_axes) over.push_back(axis.extent);
    for (const Axis& axis : sum->axes) kept.push_back(axis.extent);
    op_.kind = Kind::kNorm;
    const std::vector<IntExpr> dims = op_.x_dims;
    op_.x_dims = op_.y_dims = {product(kept), product(over)};
    for (const Trial& t : trials_) {
      if (element_count(ir::evaluate_shape(op_.x_dims, t.sizes)) !=
          element_count(shape(op_.x, t))) {
        return false;
      }
    }
    std::set<double> constants = {0};
    for (const ir::Statement& statement : program_.statements)
      collect_constants(statement.body, constants);
    for (double eps : constants) {
      op_.eps = eps;
      if (eps >= 0 && eps < 0.5 && affine(dims)) return true;
    }
    return false;
  }

  /// Finds the roles of the other inputs, and which neighbouring dimensions of x they run along.
  bool affine(const std::vector<IntExpr>& dims) {
    std::vector<std::string> params;
    for (const ir::InputDecl& input : program_.inputs)
      if (input.name != op_.x) params.push_back(input.name);
    params.resize(2);
    for (int order = 0; order < 2; ++order, std::swap(params[0], params[1])) {
      op_.gamma = params[0], op_.beta = params[1];
      for (size_t from = 0; from < dims.size(); ++from) {
        for (size_t to = from + 1; to <= dims.size(); ++to) {
          if (spans(from, to) && confirmed([&](const Trial& t) { return norm_of(t, from, to); })) {
            place(dims, from, to);
            return true;
          }
        }
      }
    }
    return false;
  }
  bool spans(size_t from, size_t to) const {
    for (const std::string& param : {op_.gamma, op_.beta}) {
      for (const Trial& t : trials_) {
        const Shape x = shape(op_.x, t);
        const auto at = [&](size_t d) { return x.begin() + static_cast<int64_t>(d); };
        if (!param.empty() && shape(param, t) != Shape(at(from), at(to))) return false;
      }
    }
    return true;
  }
  Values norm_of(const Trial& t, size_t from, size_t to) const {
    const Shape x = shape(op_.x, t);
    const auto columns = static_cast<size_t>(ir::evaluate(op_.x_dims[1], t.sizes));
    const auto inner = static_cast<size_t>(product(x, to, x.size()));
    const auto scaled = static_cast<size_t>(product(x, from, to));
    Values y = normalised(t.tensors.at(op_.x), columns, op_.eps);
    for (size_t i = 0; i < y.size(); ++i) {
      const size_t at = i / inner % scaled;
      if (!op_.gamma.empty()) y[i] *= t.tensors.at(op_.gamma)[at];
      if (!op_.beta.empty()) y[i] += t.tensors.at(op_.beta)[at];
    }
    return y;
  }
  void place(const std::vector<IntExpr>& dims, size_t from, size_t to) {
    view(dims, from, to);
    op_.by_column = std::all_of(trials_.begin(), trials_.end(), [&](const Trial& t) {
      return ir::evaluate(op_.middle, t.sizes) == ir::evaluate(op_.x_dims[1], t.sizes) &&
             ir::evaluate(op_.inner, t.sizes) == 1;
    });
  }

  const ir::Program& program_;
  const ir::Sizes& sizes_;
  std::vector<Trial> trials_;
  WholeOperation op_;
};

}  // namespace

std::optional<WholeOperation> match_whole(const ir::Program& program, const ir::Sizes& sizes) {
  return WholeMatcher(program, sizes).match();
}

}  // namespace quern
