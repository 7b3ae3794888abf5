// SPDX-License-Identifier: Apache-2.0
#include "record/plan_values.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "base/suggest.h"

namespace quern {

Result<size_t> plan_choice(PlanCursor& cursor, const std::string& key,
                           const std::vector<std::string>& choices) {
  QUERN_ASSIGN(const std::string value, cursor.option_value("a value of " + key));
  const auto found = std::ranges::find(choices, value);
  if (found != choices.end()) return static_cast<size_t>(found - choices.begin());
  const std::string meant = did_you_mean(value, choices);
  return cursor.error(fmt::format("{} cannot be '{}'", key, value),
                      meant.empty() ? "it is one of " + join(choices, ", ") : meant);
}

Result<int64_t> plan_constant(PlanCursor& cursor, const std::string& what, int64_t low,
                              int64_t high) {
  QUERN_ASSIGN(const PlanExpr expr, cursor.primary_expression());
  if (expr.whole()) {
    if (const auto value = expr.evaluate({}); value && *value >= low && *value <= high) {
      return *value;
    }
  }
  return cursor.error(fmt::format("{} cannot be '{}': it is a whole number from {} to {}", what,
                                  expr.text(), low, high),
                      "");
}

Result<PlanType> plan_type(PlanCursor& cursor) {
  QUERN_ASSIGN(const std::string name, cursor.option_value("a type"));
  if (const auto found = plan_type_from_name(name)) return *found;
  const std::vector<std::string> known = plan_type_names();
  const std::string meant = did_you_mean(name, known);
  return cursor.error(fmt::format("there is no type '{}'", name),
                      meant.empty() ? "the types are " + join(known, ", ") : meant);
}

Result<void> all_whole(const PlanCursor& cursor, const std::vector<PlanExpr>& exprs) {
  for (const PlanExpr& expr : exprs) {
    if (expr.whole()) continue;
    return cursor.error(fmt::format("'{}' is not a whole number", expr.text()),
                        "fractions and sqrt belong in f32(…) and f64(…) arguments");
  }
  return {};
}

Result<std::vector<PlanExpr>> plan_whole_list(PlanCursor& cursor, char open, char close) {
  QUERN_ASSIGN(std::vector<PlanExpr> list, cursor.expressions(open, close));
  QUERN_TRY(all_whole(cursor, list));
  return list;
}

Result<std::vector<PlanExpr>> plan_dimensions(PlanCursor& cursor, const std::string& what) {
  std::vector<PlanExpr> list;
  if (cursor.at_symbol('(')) {
    QUERN_ASSIGN(list, cursor.expressions('(', ')'));
  } else {
    QUERN_ASSIGN(PlanExpr one, cursor.primary_expression());
    list.push_back(std::move(one));
  }
  QUERN_TRY(all_whole(cursor, list));
  if (list.size() > 3) {
    return cursor.error(
        fmt::format("{} has {} dimensions, and 3 at most (x, y, z)", what, list.size()), "");
  }
  return list;
}

Result<LaunchArgument> plan_scalar(PlanCursor& cursor, PlanType type, const std::string& name) {
  LaunchArgument argument;
  argument.kind = LaunchArgument::Kind::kScalar;
  argument.type = type;
  cursor.take_word(name);
  QUERN_TRY(cursor.expect_symbol('(', name));
  QUERN_ASSIGN(argument.value, cursor.expression());
  QUERN_TRY(cursor.expect_symbol(')', argument.value.text()));
  if (type == PlanType::kF16 || type == PlanType::kBF16) {
    return cursor.error(fmt::format("arguments of type {} cannot be passed", name),
                        "pass an f32 and convert in the kernel");
  }
  if (type != PlanType::kF32 && type != PlanType::kF64) {
    QUERN_TRY(all_whole(cursor, {argument.value}));
  }
  return argument;
}

}  // namespace quern
