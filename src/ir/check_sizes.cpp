// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <limits>

#include "ir/bounds.h"
#include "ir/check.h"
#include "ir/saturate.h"

namespace quern::ir {
namespace {

using MaybeFault = std::optional<Fault>;

std::string at_sizes(const std::string& size_set) {
  return size_set.empty() ? "" : fmt::format(" (size set `{}`)", size_set);
}

/// Checks the accesses of one statement.
class Access {
 public:
  Access(const Program& program, const Sizes& sizes, int statement, const std::string& size_set)
      : program_(program),
        sizes_(sizes),
        at_(statement),
        size_set_(size_set),
        bounds_(program, sizes, program.statements[static_cast<size_t>(statement)]) {}

  MaybeFault value(const Expr& expr) {
    for (const IntExpr& index : expr.indices) {
      if (MaybeFault f = divisions_and_gathers(index)) return f;
    }
    if (expr.kind == Expr::Kind::kLoad && expr.args.empty()) {
      if (MaybeFault f = indices(expr.name, expr.indices)) return f;
    }
    bool guarded = expr.kind == Expr::Kind::kOp &&
                   (expr.op == Op::kSelect || expr.op == Op::kAnd || expr.op == Op::kOr);
    for (size_t i = 0; i < expr.args.size(); ++i) {
      size_t mark = bounds_.push(constant(0), true);
      if (guarded && i > 0) {
        bool truth = expr.op == Op::kSelect ? i == 1 : expr.op == Op::kAnd;
        bounds_.push(expr.args[0], truth);
      }
      MaybeFault f = value(expr.args[i]);
      bounds_.pop_to(mark);
      if (f) return f;
    }
    return std::nullopt;
  }

 private:
  Fault fault(const std::string& tensor, std::string message, std::string hint = "") const {
    return Fault{at_, tensor, std::move(message), std::move(hint)};
  }

  MaybeFault divisions_and_gathers(const IntExpr& expr) {
    if (expr.kind == IntExpr::Kind::kGather) {
      if (MaybeFault f = indices(expr.name, expr.args)) return f;
    }
    if (expr.kind == IntExpr::Kind::kDiv || expr.kind == IntExpr::Kind::kMod) {
      Range by = bounds_.range(expr.args[1]);
      if (by.low <= 0 && by.high >= 0) {
        return fault("",
                     fmt::format("`{}` may divide by zero{}", print(expr), at_sizes(size_set_)));
      }
    }
    for (const IntExpr& arg : expr.args) {
      if (MaybeFault f = divisions_and_gathers(arg)) return f;
    }
    return std::nullopt;
  }

  MaybeFault indices(const std::string& tensor, const std::vector<IntExpr>& list) {
    Shape shape = shape_of(program_, tensor, sizes_);
    for (size_t d = 0; d < list.size() && d < shape.size(); ++d) {
      Range range = bounds_.range(list[d]);
      if (range.low >= 0 && range.high < shape[d]) continue;
      bool unknown = saturated(range.low) || saturated(range.high);
      std::string runs =
          unknown ? "can be any integer" : fmt::format("runs from {} to {}", range.low, range.high);
      return fault(tensor,
                   fmt::format("index `{}` {}, but axis {} of `{}` has extent {}{}", print(list[d]),
                               runs, d, tensor, shape[d], at_sizes(size_set_)),
                   fmt::format("write `{}[…] else value` for places outside, or guard it with "
                               "`select`",
                               tensor));
    }
    return std::nullopt;
  }

  const Program& program_;
  const Sizes& sizes_;
  int at_;
  const std::string& size_set_;
  Bounds bounds_;
};

/// Every extent at least 1, and a tensor whose bytes can be counted.
MaybeFault shape_fault(const Program& program, const std::string& tensor, const Sizes& sizes,
                       int statement, const std::string& size_set) {
  std::vector<IntExpr> shape = program.shape_of(tensor);
  Shape extents = evaluate_shape(shape, sizes);
  for (size_t d = 0; d < shape.size(); ++d) {
    if (extents[d] > 0) continue;
    return Fault{statement, tensor,
                 fmt::format("axis {} of `{}`, `{}`, has extent {}{}; an extent must be at least 1",
                             d, tensor, print(shape[d]), extents[d], at_sizes(size_set)),
                 ""};
  }
  int64_t bytes = saturating_mul(element_count(extents), dtype_bytes(program.type_of(tensor)));
  if (bytes < kInt64Max) return std::nullopt;
  return Fault{statement, tensor,
               fmt::format("`{}` has more bytes than a 64-bit integer can count{}", tensor,
                           at_sizes(size_set)),
               ""};
}

MaybeFault distribution_fault(const InputDecl& input, const Sizes& sizes,
                              const std::string& size_set) {
  if (input.distribution.kind != Distribution::Kind::kIntegers) return std::nullopt;
  int64_t low = evaluate(input.distribution.low, sizes);
  int64_t high = evaluate(input.distribution.high, sizes);
  bool narrow = input.type != DType::kI64;
  bool fits = !narrow || (low >= std::numeric_limits<int32_t>::min() &&
                          high <= std::numeric_limits<int32_t>::max());
  if (low <= high && fits && !saturated(low) && !saturated(high)) return std::nullopt;
  return Fault{-1, input.name,
               fmt::format("`{}` is drawn from integers({}, {}), which {}{}", input.name, low, high,
                           low > high ? "is empty" : "does not fit its type", at_sizes(size_set)),
               ""};
}

}  // namespace

std::optional<Fault> find_size_fault(const Program& program, const Sizes& sizes,
                                     const std::string& size_set) {
  for (const InputDecl& input : program.inputs) {
    if (MaybeFault f = shape_fault(program, input.name, sizes, -1, size_set)) return f;
    if (MaybeFault f = distribution_fault(input, sizes, size_set)) return f;
  }
  for (size_t i = 0; i < program.statements.size(); ++i) {
    const Statement& s = program.statements[i];
    int at = static_cast<int>(i);
    if (MaybeFault f = shape_fault(program, s.name, sizes, at, size_set)) return f;
    for (const Axis& axis : s.reduce_axes) {
      int64_t extent = evaluate(axis.extent, sizes);
      if (extent > 0 && !saturated(extent)) continue;
      return Fault{at, s.name,
                   fmt::format("the reduction axis `{} < {}` has extent {}{}; an extent must be at "
                               "least 1",
                               axis.name, print(axis.extent), extent, at_sizes(size_set)),
                   ""};
    }
    if (MaybeFault f = Access(program, sizes, at, size_set).value(s.body)) return f;
  }
  return std::nullopt;
}

}  // namespace quern::ir
