// SPDX-License-Identifier: Apache-2.0
#include "ir/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/suggest.h"
#include "ir/saturate.h"

namespace quern::ir {
namespace {

/// The value with overflow and division by zero made visible as an empty result.
std::optional<int64_t> checked_value(const IntExpr& expr, const Sizes& sizes) {
  using Kind = IntExpr::Kind;
  if (expr.kind == Kind::kConstant) return expr.value;
  if (expr.kind == Kind::kSize) {
    auto found = sizes.find(expr.name);
    if (found == sizes.end()) return std::nullopt;
    return found->second;
  }
  if (expr.kind == Kind::kAxis || expr.kind == Kind::kGather) return std::nullopt;
  std::optional<int64_t> a = checked_value(expr.args[0], sizes);
  std::optional<int64_t> b = checked_value(expr.args[1], sizes);
  if (!a || !b) return std::nullopt;
  int64_t value = 0;
  switch (expr.kind) {
    case Kind::kAdd:
      return __builtin_add_overflow(*a, *b, &value) ? std::nullopt : std::optional(value);
    case Kind::kSub:
      return __builtin_sub_overflow(*a, *b, &value) ? std::nullopt : std::optional(value);
    case Kind::kMul:
      return __builtin_mul_overflow(*a, *b, &value) ? std::nullopt : std::optional(value);
    case Kind::kMin:
      return std::min(*a, *b);
    case Kind::kMax:
      return std::max(*a, *b);
    default:
      break;
  }
  if (*b == 0 || (*a == kInt64Min && *b == -1)) return std::nullopt;
  return expr.kind == Kind::kDiv ? floor_div(*a, *b) : floor_mod(*a, *b);
}

Error size_error(const Program& program, const std::string& message) {
  return Error{ErrorKind::kInput, fmt::format("task `{}`: {}", program.name, message), ""};
}

/// Adds the derived sizes to `sizes`, which holds the free ones.
Result<Sizes> derive(const Program& program, Sizes sizes) {
  for (const SizeDecl& size : program.sizes) {
    if (!size.let) continue;
    std::optional<int64_t> value = checked_value(*size.let, sizes);
    if (!value) {
      return size_error(program, fmt::format("the derived size `{} = {}` divides by zero or "
                                             "overflows a 64-bit integer",
                                             size.name, print(*size.let)));
    }
    if (*value < 0) {
      return size_error(program, fmt::format("the derived size `{} = {}` is {}; sizes may not be "
                                             "negative",
                                             size.name, print(*size.let), *value));
    }
    sizes[size.name] = *value;
  }
  return sizes;
}

}  // namespace

const char* structure_name(Distribution::Structure structure) {
  static constexpr const char* kNames[] = {"", "lower", "upper", "symmetric"};
  return kNames[static_cast<int>(structure)];
}

const char* monoid_name(Monoid monoid) {
  constexpr std::array<const char*, 6> kNames = {"sum", "prod", "max", "min", "argmax", "argmin"};
  return kNames[static_cast<size_t>(monoid)];
}

const InputDecl* Program::find_input(const std::string& tensor) const {
  for (const InputDecl& input : inputs) {
    if (input.name == tensor) return &input;
  }
  return nullptr;
}

const Statement* Program::find_statement(const std::string& tensor) const {
  int index = statement_index(tensor);
  return index < 0 ? nullptr : &statements[static_cast<size_t>(index)];
}

int Program::statement_index(const std::string& tensor) const {
  for (size_t i = 0; i < statements.size(); ++i) {
    if (statements[i].name == tensor) return static_cast<int>(i);
  }
  return -1;
}

std::vector<const Statement*> Program::outputs() const {
  std::vector<const Statement*> found;
  for (const Statement& statement : statements) {
    if (statement.is_output) found.push_back(&statement);
  }
  return found;
}

DType Program::type_of(const std::string& tensor) const {
  if (const InputDecl* input = find_input(tensor)) return input->type;
  const Statement* statement = find_statement(tensor);
  QUERN_CHECK(statement != nullptr, "type_of() of a tensor that the program does not have");
  return statement->type;
}

std::vector<IntExpr> Program::shape_of(const std::string& tensor) const {
  if (const InputDecl* input = find_input(tensor)) return input->shape;
  const Statement* statement = find_statement(tensor);
  QUERN_CHECK(statement != nullptr, "shape_of() of a tensor that the program does not have");
  std::vector<IntExpr> shape;
  for (const Axis& axis : statement->axes) shape.push_back(axis.extent);
  return shape;
}

std::vector<std::string> Program::free_sizes() const {
  std::vector<std::string> names;
  for (const SizeDecl& size : sizes) {
    if (!size.let) names.push_back(size.name);
  }
  return names;
}

Result<Sizes> bind_sizes(const Program& program, const std::string& size_set) {
  std::map<std::string, int64_t> values;
  for (const SizeDecl& size : program.sizes) {
    if (!size.let) values[size.name] = size.value;
  }
  if (size_set == "full") return bind_sizes(program, values);
  std::vector<std::string> known = {"full"};
  for (const SizeSet& set : program.size_sets) {
    known.push_back(set.name);
    if (set.name != size_set) continue;
    for (const auto& [name, value] : set.values) values[name] = value;
    return bind_sizes(program, values);
  }
  std::string close = did_you_mean(size_set, known);
  std::string hint = fmt::format("it has {}", fmt::join(known, ", "));
  if (!close.empty()) hint = fmt::format("{} {}", close, hint);
  return Error{ErrorKind::kUsage,
               fmt::format("task `{}` has no size set `{}`", program.name, size_set), hint};
}

Result<Sizes> bind_sizes(const Program& program,
                         const std::map<std::string, int64_t>& free_values) {
  Sizes sizes;
  for (const std::string& name : program.free_sizes()) {
    auto found = free_values.find(name);
    if (found == free_values.end()) {
      return size_error(program, fmt::format("size `{}` has no value", name));
    }
    if (found->second <= 0) {
      return size_error(
          program, fmt::format("size `{}` is {}; a size must be at least 1", name, found->second));
    }
    sizes[name] = found->second;
  }
  for (const auto& [name, value] : free_values) {
    if (sizes.count(name) == 0) {
      Error error = size_error(program, fmt::format("there is no free size `{}`", name));
      error.hint = did_you_mean(name, program.free_sizes());
      return error;
    }
  }
  return derive(program, std::move(sizes));
}

int64_t evaluate(const IntExpr& expr, const Sizes& sizes) {
  using Kind = IntExpr::Kind;
  if (expr.kind == Kind::kConstant) return expr.value;
  if (expr.kind == Kind::kSize) {
    auto found = sizes.find(expr.name);
    QUERN_CHECK(found != sizes.end(), "evaluate() needs the value of every size");
    return found->second;
  }
  QUERN_CHECK(expr.args.size() == 2 && expr.kind != Kind::kGather,
              "evaluate() of an expression with axes or gathers");
  int64_t a = evaluate(expr.args[0], sizes);
  int64_t b = evaluate(expr.args[1], sizes);
  switch (expr.kind) {
    case Kind::kAdd:
      return saturating_add(a, b);
    case Kind::kSub:
      return saturating_sub(a, b);
    case Kind::kMul:
      return saturating_mul(a, b);
    case Kind::kMin:
      return std::min(a, b);
    case Kind::kMax:
      return std::max(a, b);
    default:
      break;
  }
  if (b == 0) return 0;
  if (b == -1) return expr.kind == Kind::kDiv ? saturating_negate(a) : 0;
  return expr.kind == Kind::kDiv ? floor_div(a, b) : floor_mod(a, b);
}

Shape evaluate_shape(const std::vector<IntExpr>& shape, const Sizes& sizes) {
  Shape extents;
  for (const IntExpr& extent : shape) extents.push_back(evaluate(extent, sizes));
  return extents;
}

Shape shape_of(const Program& program, const std::string& tensor, const Sizes& sizes) {
  return evaluate_shape(program.shape_of(tensor), sizes);
}

namespace {

void add_term(Affine& form, const std::string& axis, int64_t factor) {
  for (auto it = form.terms.begin(); it != form.terms.end(); ++it) {
    if (it->first != axis) continue;
    it->second = saturating_add(it->second, factor);
    if (it->second == 0) form.terms.erase(it);
    return;
  }
  if (factor != 0) form.terms.emplace_back(axis, factor);
}

Affine not_affine() {
  Affine form;
  form.affine = false;
  return form;
}

Affine combine(Affine a, const Affine& b, int64_t sign) {
  a.constant = saturating_add(a.constant, saturating_mul(sign, b.constant));
  for (const auto& [axis, factor] : b.terms) add_term(a, axis, saturating_mul(sign, factor));
  return a;
}

Affine scaled(const Affine& a, int64_t factor) {
  Affine form;
  form.constant = saturating_mul(a.constant, factor);
  for (const auto& [axis, old] : a.terms) add_term(form, axis, saturating_mul(old, factor));
  return form;
}

}  // namespace

Affine affine_form(const IntExpr& expr, const Sizes& sizes) {
  using Kind = IntExpr::Kind;
  Affine form;
  if (expr.kind == Kind::kGather) return not_affine();
  if (expr.kind == Kind::kAxis) {
    form.terms.emplace_back(expr.name, 1);
    return form;
  }
  if (expr.args.empty()) {
    form.constant = evaluate(expr, sizes);
    return form;
  }
  Affine a = affine_form(expr.args[0], sizes);
  Affine b = affine_form(expr.args[1], sizes);
  if (!a.affine || !b.affine) return not_affine();
  if (expr.kind == Kind::kAdd) return combine(a, b, 1);
  if (expr.kind == Kind::kSub) return combine(a, b, -1);
  if (expr.kind == Kind::kMul && b.terms.empty()) return scaled(a, b.constant);
  if (expr.kind == Kind::kMul && a.terms.empty()) return scaled(b, a.constant);
  if (!a.terms.empty() || !b.terms.empty()) return not_affine();
  IntExpr both = expr;
  both.args = {int_constant(a.constant), int_constant(b.constant)};
  form.constant = evaluate(both, sizes);
  return form;
}

}  // namespace quern::ir
