// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace quern {

/// Values of a task's sizes, derived ones included.
using PlanSizes = std::map<std::string, int64_t>;

class PlanCursor;

/// An expression over a task's sizes, as plans write it: `ceil_div(dim, 4 * 256)`. Whole-number
/// arithmetic rounds quotients down; operators and functions: docs/plan_format.md.
class PlanExpr {
 public:
  /// Reads one whole expression. Errors: kInput, saying what is wrong where.
  static Result<PlanExpr> parse(const std::string& text, const std::vector<std::string>& sizes);
  static PlanExpr constant(int64_t value);

  /// The value in whole numbers. Errors: a division by zero, an overflow.
  Result<int64_t> evaluate(const PlanSizes& sizes) const;
  /// The value in f64, where `/` does not round and `sqrt` may be used.
  double evaluate_real(const PlanSizes& sizes) const;

  bool whole() const { return whole_; }  ///< no fraction, no sqrt: `evaluate` may be asked
  const std::string& text() const { return text_; }
  bool operator==(const PlanExpr&) const = default;

 private:
  friend class PlanCursor;
  enum class Op {
    kNumber,
    kSize,
    kAdd,
    kSub,
    kMul,
    kDiv,
    kMod,
    kCeilDiv,
    kRoundUp,
    kMin,
    kMax,
    kSqrt
  };
  /// Reverse Polish: operands first.
  struct Step {
    Op op = Op::kNumber;
    int64_t whole = 0;
    double real = 0;
    std::string size;
    bool operator==(const Step&) const = default;
  };
  static Result<int64_t> apply(Op op, int64_t a, int64_t b, const std::string& text);
  static double apply_real(Op op, double a, double b);

  std::vector<Step> steps_;
  std::string text_;
  bool whole_ = true;
};

}  // namespace quern
