// SPDX-License-Identifier: Apache-2.0
#include "ir/counts.h"

#include <algorithm>
#include <map>

namespace quern::ir {
namespace {

using Point = std::map<std::string, int64_t>;

struct Work {
  double flops = 0;
  double special = 0;
};

Work operator+(const Work& a, const Work& b) { return {a.flops + b.flops, a.special + b.special}; }
Work scaled(const Work& a, double factor) { return {a.flops * factor, a.special * factor}; }

bool is_special(Op op) {
  switch (op) {
    case Op::kExp:
    case Op::kLog:
    case Op::kLog1p:
    case Op::kExpm1:
    case Op::kSqrt:
    case Op::kRsqrt:
    case Op::kTanh:
    case Op::kErf:
    case Op::kSin:
    case Op::kCos:
    case Op::kPow:
      return true;
    default:
      return false;
  }
}

/// Counts the work of one statement's body at one point of its domain.
class PointCounter {
 public:
  PointCounter(const Program& program, const Sizes& sizes) : program_(program), sizes_(sizes) {}

  Point point;

  Work work(const Expr& expr) const {
    if (expr.kind == Expr::Kind::kLoad) {
      return !expr.args.empty() && outside(expr) ? work(expr.args[0]) : Work{};
    }
    if (expr.kind != Expr::Kind::kOp) return {};
    if (expr.op == Op::kSelect) {
      if (by_index(expr.args[0])) return work(expr.args[holds(expr.args[0]) ? 1 : 2]);
      // Which side data choose is not known here: half the work of each.
      return work(expr.args[0]) + scaled(work(expr.args[1]) + work(expr.args[2]), 0.5);
    }
    bool free = expr.op == Op::kAnd || expr.op == Op::kOr || expr.op == Op::kNot || by_index(expr);
    Work sum;
    if (!free) sum.flops = 1;
    if (is_special(expr.op)) sum.special = 1;
    for (const Expr& arg : expr.args) sum = sum + work(arg);
    return sum;
  }

  /// A term that a guard or padding turns into a constant: no implementation computes it.
  bool dead(const Expr& expr) const {
    if (expr.kind == Expr::Kind::kLoad) {
      return !expr.args.empty() && expr.args[0].kind == Expr::Kind::kConstant && outside(expr);
    }
    if (expr.kind != Expr::Kind::kOp) return false;
    if (expr.op == Op::kSelect && by_index(expr.args[0])) {
      const Expr& chosen = expr.args[holds(expr.args[0]) ? 1 : 2];
      return chosen.kind == Expr::Kind::kConstant || dead(chosen);
    }
    return expr.op == Op::kMul && std::any_of(expr.args.begin(), expr.args.end(),
                                              [&](const Expr& arg) { return dead(arg); });
  }

  /// Whether the work differs from point to point.
  static bool guarded(const Expr& expr) {
    if (expr.kind == Expr::Kind::kLoad && !expr.args.empty()) return true;
    if (expr.kind == Expr::Kind::kOp && expr.op == Op::kSelect) return true;
    return std::any_of(expr.args.begin(), expr.args.end(), guarded);
  }

 private:
  /// A condition that reads no values.
  static bool by_index(const Expr& expr) {
    if (expr.kind != Expr::Kind::kOp || !op_info(expr.op).boolean) return false;
    return std::all_of(expr.args.begin(), expr.args.end(), [](const Expr& arg) {
      return arg.kind == Expr::Kind::kIndex || by_index(arg);
    });
  }

  bool holds(const Expr& expr) const {
    if (expr.op == Op::kNot) return !holds(expr.args[0]);
    if (expr.op == Op::kAnd) return holds(expr.args[0]) && holds(expr.args[1]);
    if (expr.op == Op::kOr) return holds(expr.args[0]) || holds(expr.args[1]);
    int64_t a = value(expr.args[0].indices[0]), b = value(expr.args[1].indices[0]);
    switch (expr.op) {
      case Op::kLt:
        return a < b;
      case Op::kLe:
        return a <= b;
      case Op::kGt:
        return a > b;
      case Op::kGe:
        return a >= b;
      case Op::kEq:
        return a == b;
      default:
        return a != b;
    }
  }

  bool outside(const Expr& load) const {
    Shape shape = shape_of(program_, load.name, sizes_);
    for (size_t d = 0; d < load.indices.size(); ++d) {
      int64_t at = value(load.indices[d]);
      if (at < 0 || at >= shape[d]) return true;
    }
    return false;
  }

  /// A gathered index stands for 0: any place is as good as another for counting.
  int64_t value(const IntExpr& expr) const {
    using Kind = IntExpr::Kind;
    if (expr.kind == Kind::kAxis) return point.at(expr.name);
    if (expr.kind == Kind::kGather) return 0;
    if (expr.args.empty()) return evaluate(expr, sizes_);
    IntExpr both = expr;
    both.args = {int_constant(value(expr.args[0])), int_constant(value(expr.args[1]))};
    return evaluate(both, sizes_);
  }

  const Program& program_;
  const Sizes& sizes_;
};

double points_of(const std::vector<Axis>& axes, const Sizes& sizes) {
  double points = 1;
  for (const Axis& axis : axes) points *= static_cast<double>(evaluate(axis.extent, sizes));
  return points;
}

/// The mean work of a point, the combining step of a reduction or scan included.
Work mean_work(const Program& program, const Statement& s, const Sizes& sizes) {
  double combine = s.kind == Statement::Kind::kMap ? 0 : 1;
  PointCounter counter(program, sizes);
  if (!PointCounter::guarded(s.body)) return counter.work(s.body) + Work{combine, 0};
  constexpr int64_t kSample = 4096;
  std::vector<Axis> axes = s.axes;
  axes.insert(axes.end(), s.reduce_axes.begin(), s.reduce_axes.end());
  double points = points_of(axes, sizes);
  int64_t sample = points < static_cast<double>(kSample) ? static_cast<int64_t>(points) : kSample;
  Work sum;
  uint64_t state = 1;
  for (int64_t i = 0; i < sample; ++i) {
    auto rest = static_cast<uint64_t>(i);
    for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
      auto extent = static_cast<uint64_t>(evaluate(axis->extent, sizes));
      // All points where they are few; else a fixed pseudo-random draw.
      state = state * 6364136223846793005u + 1442695040888963407u;
      bool every = points <= static_cast<double>(kSample);
      counter.point[axis->name] = static_cast<int64_t>((every ? rest : state >> 33) % extent);
      rest /= extent;
    }
    bool skipped = s.kind == Statement::Kind::kReduce && counter.dead(s.body);
    if (!skipped) sum = sum + counter.work(s.body) + Work{combine, 0};
  }
  return scaled(sum, 1.0 / static_cast<double>(std::max<int64_t>(sample, 1)));
}

double bytes_of(const Program& program, const std::string& tensor, const Sizes& sizes) {
  auto bytes = static_cast<double>(dtype_bytes(program.type_of(tensor)));
  for (int64_t extent : shape_of(program, tensor, sizes)) bytes *= static_cast<double>(extent);
  return bytes;
}

}  // namespace

Counts count(const Program& program, const Sizes& sizes) {
  Counts counts;
  for (const InputDecl& input : program.inputs)
    counts.bytes_in += bytes_of(program, input.name, sizes);
  for (const Statement& s : program.statements) {
    double bytes = bytes_of(program, s.name, sizes);
    if (s.is_output) {
      counts.bytes_out += bytes;
    } else {
      counts.bytes_between += 2 * bytes;
    }
    Work work = scaled(mean_work(program, s, sizes),
                       points_of(s.axes, sizes) * points_of(s.reduce_axes, sizes));
    counts.flops += work.flops;
    counts.special += work.special;
  }
  return counts;
}

double io_bytes(const Program& program, const Sizes& sizes) {
  double total = 0;
  for (const InputDecl& input : program.inputs) total += bytes_of(program, input.name, sizes);
  for (const Statement* output : program.outputs()) total += bytes_of(program, output->name, sizes);
  return total;
}

}  // namespace quern::ir
