// SPDX-License-Identifier: Apache-2.0
#include "task/operators.h"

#include <fmt/format.h>

#include <cmath>

namespace quern {

Signature parse_signature(const char* text) {
  Signature signature;
  std::string_view rest = text;
  while (!rest.empty()) {
    size_t comma = std::min(rest.find(", "), rest.size());
    std::string_view part = rest.substr(0, comma);
    rest.remove_prefix(std::min(rest.size(), comma + 2));
    Signature::Param param;
    size_t equals = part.find(" = ");
    param.tensor = equals == std::string_view::npos;
    part = part.substr(0, equals);
    param.optional = !param.tensor || part.back() == '?';
    if (part.back() == '?') part.remove_suffix(1);
    param.name = std::string(part);
    signature.params.push_back(std::move(param));
  }
  return signature;
}

ir::IntExpr quotient(ir::IntExpr a, ir::IntExpr b) {
  if (a == b) return ir::int_constant(1);
  return ir::int_binary(ir::IntExpr::Kind::kDiv, std::move(a), std::move(b));
}

ir::IntExpr total(ir::IntExpr a, const ir::IntExpr& b) {
  if (b.kind != ir::IntExpr::Kind::kConstant) return std::move(a) + b;
  int64_t constant = b.value;
  bool tail = a.kind == ir::IntExpr::Kind::kAdd || a.kind == ir::IntExpr::Kind::kSub;
  if (tail && a.args[1].kind == ir::IntExpr::Kind::kConstant) {
    int64_t old = a.args[1].value;
    constant += a.kind == ir::IntExpr::Kind::kAdd ? old : -old;
    a = ir::IntExpr(a.args[0]);
  }
  if (constant < 0) return std::move(a) - ir::int_constant(-constant);
  return std::move(a) + ir::int_constant(constant);
}

ir::IntExpr window_reach(const ir::IntExpr& kernel, const ir::IntExpr& dilation) {
  if (dilation == ir::int_constant(1)) return kernel;
  return dilation * (kernel - ir::int_constant(1)) + ir::int_constant(1);
}

ir::IntExpr window_places(const ir::IntExpr& extent, const ir::IntExpr& kernel,
                          const ir::IntExpr& stride, const ir::IntExpr& padding,
                          const ir::IntExpr& dilation) {
  ir::IntExpr slack = ir::int_constant(2) * padding - window_reach(kernel, dilation);
  ir::IntExpr room =
      slack.kind == ir::IntExpr::Kind::kConstant
          ? total(extent, slack)
          : total(extent, ir::int_constant(2) * padding) - window_reach(kernel, dilation);
  return total(ir::int_binary(ir::IntExpr::Kind::kDiv, std::move(room), stride),
               ir::int_constant(1));
}

const std::vector<Operator>& operators() {
  static const auto* table = [] {
    auto* all = new std::vector<Operator>();
    for (auto* family : {contraction_operators, window_operators, row_operators}) {
      for (const Operator& row : family()) all->push_back(row);
    }
    return all;
  }();
  return *table;
}

const Operator* find_operator(const std::string& name) {
  for (const Operator& row : operators()) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

Result<void> Expansion::bind(std::vector<std::string> tensors, std::vector<const Node*> options) {
  Signature signature = parse_signature(row_.signature);
  for (size_t i = 0; i < signature.params.size(); ++i) {
    const Signature::Param& param = signature.params[i];
    if (param.tensor) {
      tensors_.emplace_back(param.name, tensors[i]);
    } else {
      options_.emplace_back(param.name, options[i]);
    }
  }
  return {};
}

const std::string& Expansion::tensor(const char* param) const {
  for (const auto& [name, tensor] : tensors_) {
    if (name == param) return tensor;
  }
  QUERN_CHECK(false, "an operator asks for a tensor its signature lacks");
}

const Node* Expansion::find(const char* option) const {
  for (const auto& [name, node] : options_) {
    if (name == option) return node;
  }
  QUERN_CHECK(false, "an operator asks for an option its signature lacks");
}

std::vector<ir::IntExpr> Expansion::shape(const char* param) const {
  return lowerer_.program().shape_of(tensor(param));
}

Error Expansion::error(const std::string& message, std::string hint) const {
  if (hint.empty()) hint = fmt::format("usage: {}({})", row_.name, row_.signature);
  return lowerer_.error(call_.offset, fmt::format("`{}`: {}", row_.name, message), std::move(hint));
}

Result<std::vector<ir::IntExpr>> Expansion::integers(const char* option, size_t count,
                                                     int64_t fallback) {
  const Node* node = find(option);
  if (node == nullptr) return std::vector<ir::IntExpr>(count, ir::int_constant(fallback));
  if (node->kind != Node::Kind::kTuple) {
    QUERN_ASSIGN(ir::IntExpr one, lowerer_.extent(*node));
    return std::vector<ir::IntExpr>(count, one);
  }
  if (node->args.size() != count) {
    return error(fmt::format("`{}` needs {} values, or one for all", option, count));
  }
  std::vector<ir::IntExpr> list;
  for (const Node& item : node->args) {
    QUERN_ASSIGN(ir::IntExpr one, lowerer_.extent(item));
    list.push_back(std::move(one));
  }
  return list;
}

Result<double> Expansion::number(const char* option, double fallback) {
  const Node* node = find(option);
  if (node == nullptr) return fallback;
  if (node->kind == Node::Kind::kNumber && std::isfinite(node->value)) return node->value;
  return error(fmt::format("`{}` must be a number", option));
}

Result<bool> Expansion::flag(const char* option) {
  const Node* node = find(option);
  if (node == nullptr) return false;
  if (node->kind == Node::Kind::kName && node->text == "true") return true;
  if (node->kind == Node::Kind::kName && node->text == "false") return false;
  return error(fmt::format("`{}` must be true or false", option));
}

Result<std::vector<size_t>> Expansion::positions(const char* option, size_t rank,
                                                 int64_t fallback) {
  const Node* node = find(option);
  std::vector<double> wanted;
  if (node == nullptr) {
    wanted.push_back(static_cast<double>(fallback));
  } else if (node->kind == Node::Kind::kTuple) {
    for (const Node& item : node->args)
      wanted.push_back(item.kind == Node::Kind::kNumber ? item.value : 0.5);
  } else {
    wanted.push_back(node->kind == Node::Kind::kNumber ? node->value : 0.5);
  }
  std::vector<size_t> list;
  auto limit = static_cast<double>(rank);
  for (double position : wanted) {
    if (std::floor(position) != position || position < -limit || position >= limit) {
      return error(fmt::format("`{}` must be a literal from {} to {}", option,
                               -static_cast<int64_t>(rank), static_cast<int64_t>(rank) - 1));
    }
    auto at = static_cast<size_t>(position < 0 ? position + limit : position);
    for (size_t other : list) {
      if (other == at) return error(fmt::format("`{}` names an axis twice", option));
    }
    list.push_back(at);
  }
  return list;
}

ir::Axis Expansion::axis(const std::string& wish, const ir::IntExpr& extent) const {
  return ir::Axis{lowerer_.axis_name(wish), extent};
}

std::vector<ir::Axis> Expansion::axes(const std::string& wishes,
                                      const std::vector<ir::IntExpr>& shape) const {
  std::vector<ir::Axis> list;
  for (size_t d = 0; d < shape.size(); ++d) {
    std::string wish = d < wishes.size() ? std::string(1, wishes[d]) : fmt::format("d{}", d);
    list.push_back(axis(wish, shape[d]));
  }
  return list;
}

void Expansion::map(const std::string& name, std::vector<ir::Axis> axes, ir::Expr body) {
  ir::Statement statement;
  statement.name = name;
  statement.axes = std::move(axes);
  statement.body = std::move(body);
  statement.origin = row_.name;
  lowerer_.emit(std::move(statement));
}

void Expansion::reduce(const std::string& name, ir::Monoid monoid, std::vector<ir::Axis> axes,
                       std::vector<ir::Axis> over, ir::Expr body) {
  ir::Statement statement;
  statement.name = name;
  statement.kind = ir::Statement::Kind::kReduce;
  statement.monoid = monoid;
  statement.axes = std::move(axes);
  statement.reduce_axes = std::move(over);
  statement.body = std::move(body);
  statement.origin = row_.name;
  lowerer_.emit(std::move(statement));
}

void Expansion::scan(const std::string& name, ir::Monoid monoid, std::vector<ir::Axis> axes,
                     size_t along, ir::Expr body, bool exclusive, bool reverse) {
  ir::Statement statement;
  statement.name = name;
  statement.kind = ir::Statement::Kind::kScan;
  statement.monoid = monoid;
  statement.axes = std::move(axes);
  statement.scan_axis = static_cast<int>(along);
  statement.body = std::move(body);
  statement.exclusive = exclusive;
  statement.reverse = reverse;
  statement.origin = row_.name;
  lowerer_.emit(std::move(statement));
}

Result<void> Expansion::want_rank(const char* param, size_t rank) const {
  size_t has = shape(param).size();
  if (has == rank) return {};
  return error(fmt::format("`{}` must have {} axes; `{}` has {}", param, rank, tensor(param), has));
}

Result<void> Expansion::want_same(const ir::IntExpr& a, const ir::IntExpr& b,
                                  const std::string& what) const {
  if (lowerer_.same_extent(a, b)) return {};
  return error(
      fmt::format("shapes do not match: {} (`{}` and `{}`)", what, ir::print(a), ir::print(b)));
}

}  // namespace quern
