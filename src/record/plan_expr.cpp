// SPDX-License-Identifier: Apache-2.0
#include "record/plan_expr.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "record/plan_cursor.h"

namespace quern {
namespace {

int64_t floor_quotient(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

}  // namespace

Result<PlanExpr> PlanExpr::parse(const std::string& text, const std::vector<std::string>& sizes) {
  PlanCursor cursor(text, 0, sizes);
  QUERN_ASSIGN(PlanExpr expr, cursor.expression());
  if (!cursor.at_end()) {
    return cursor.error(fmt::format("{} does not belong in an expression", cursor.here()), "");
  }
  return expr;
}

PlanExpr PlanExpr::constant(int64_t value) {
  PlanExpr expr;
  expr.steps_ = {{Op::kNumber, value, static_cast<double>(value), ""}};
  expr.text_ = std::to_string(value);
  return expr;
}

Result<int64_t> PlanExpr::apply(Op op, int64_t a, int64_t b, const std::string& text) {
  const auto fail = [&](const char* what) {
    return Error{ErrorKind::kInput, fmt::format("'{}' {}", text, what), ""};
  };
  const bool divides = op == Op::kDiv || op == Op::kMod || op == Op::kCeilDiv || op == Op::kRoundUp;
  if (divides && b == 0) return fail("divides by zero");
  if (divides && a == std::numeric_limits<int64_t>::min() && b == -1) return fail("overflows");
  int64_t value = 0;
  bool overflow = false;
  switch (op) {
    case Op::kAdd:
      overflow = __builtin_add_overflow(a, b, &value);
      break;
    case Op::kSub:
      overflow = __builtin_sub_overflow(a, b, &value);
      break;
    case Op::kMul:
      overflow = __builtin_mul_overflow(a, b, &value);
      break;
    case Op::kDiv:
      value = floor_quotient(a, b);
      break;
    case Op::kMod:
      value = a - b * floor_quotient(a, b);
      break;
    case Op::kCeilDiv:
      value = floor_quotient(a, b) + (a % b != 0 ? 1 : 0);
      break;
    case Op::kRoundUp:
      overflow = __builtin_mul_overflow(floor_quotient(a, b) + (a % b != 0 ? 1 : 0), b, &value);
      break;
    case Op::kMin:
      value = std::min(a, b);
      break;
    case Op::kMax:
      value = std::max(a, b);
      break;
    case Op::kNumber:
    case Op::kSize:
    case Op::kSqrt:
      QUERN_CHECK(false, "not a whole-number operator");
  }
  if (overflow) return fail("overflows");
  return value;
}

Result<int64_t> PlanExpr::evaluate(const PlanSizes& sizes) const {
  QUERN_CHECK(whole_ && !steps_.empty(), "an expression without a whole-number value");
  std::vector<int64_t> stack;
  for (const Step& step : steps_) {
    if (step.op == Op::kNumber) {
      stack.push_back(step.whole);
    } else if (step.op == Op::kSize) {
      const auto found = sizes.find(step.size);
      if (found == sizes.end()) {
        return Error{ErrorKind::kInput, fmt::format("'{}': no size '{}'", text_, step.size), ""};
      }
      stack.push_back(found->second);
    } else {
      const int64_t b = stack.back();
      stack.pop_back();
      QUERN_ASSIGN(stack.back(), apply(step.op, stack.back(), b, text_));
    }
  }
  return stack.back();
}

double PlanExpr::apply_real(Op op, double a, double b) {
  switch (op) {
    case Op::kAdd:
      return a + b;
    case Op::kSub:
      return a - b;
    case Op::kMul:
      return a * b;
    case Op::kDiv:
      return a / b;
    case Op::kMod:
      return a - b * std::floor(a / b);
    case Op::kCeilDiv:
      return std::ceil(a / b);
    case Op::kRoundUp:
      return std::ceil(a / b) * b;
    case Op::kMin:
      return std::min(a, b);
    case Op::kMax:
      return std::max(a, b);
    case Op::kNumber:
    case Op::kSize:
    case Op::kSqrt:
      break;
  }
  QUERN_CHECK(false, "not an operator of two operands");
}

double PlanExpr::evaluate_real(const PlanSizes& sizes) const {
  std::vector<double> stack;
  for (const Step& step : steps_) {
    if (step.op == Op::kNumber) {
      stack.push_back(step.real);
    } else if (step.op == Op::kSize) {
      const auto found = sizes.find(step.size);
      stack.push_back(found == sizes.end() ? std::nan("") : static_cast<double>(found->second));
    } else if (step.op == Op::kSqrt) {
      stack.back() = std::sqrt(stack.back());
    } else {
      const double b = stack.back();
      stack.pop_back();
      stack.back() = apply_real(step.op, stack.back(), b);
    }
  }
  return stack.back();
}

}  // namespace quern
