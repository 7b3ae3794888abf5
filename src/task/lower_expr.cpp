// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/suggest.h"
#include "task/functions.h"
#include "task/lower.h"
#include "task/operators.h"

namespace quern {
namespace {

constexpr size_t kMostNodes = 20000;

struct Sign {
  std::string_view text;
  ir::Op op;
};
constexpr std::array<Sign, 12> kSigns = {{{"+", ir::Op::kAdd},
                                          {"-", ir::Op::kSub},
                                          {"*", ir::Op::kMul},
                                          {"/", ir::Op::kDiv},
                                          {"<", ir::Op::kLt},
                                          {"<=", ir::Op::kLe},
                                          {">", ir::Op::kGt},
                                          {">=", ir::Op::kGe},
                                          {"==", ir::Op::kEq},
                                          {"!=", ir::Op::kNe},
                                          {"and", ir::Op::kAnd},
                                          {"or", ir::Op::kOr}}};

size_t node_count(const ir::Expr& expr) {
  size_t count = 1 + expr.indices.size();
  for (const ir::Expr& arg : expr.args) count += node_count(arg);
  return count;
}

bool is_condition(const ir::Expr& expr) {
  return expr.kind == ir::Expr::Kind::kOp && ir::op_info(expr.op).boolean;
}

ir::IntExpr::Kind int_kind(const std::string& sign) {
  using Kind = ir::IntExpr::Kind;
  if (sign == "+") return Kind::kAdd;
  if (sign == "-") return Kind::kSub;
  if (sign == "*") return Kind::kMul;
  if (sign == "/") return Kind::kDiv;
  return Kind::kMod;
}

bool is_arithmetic(const std::string& sign) {
  return sign == "+" || sign == "-" || sign == "*" || sign == "/" || sign == "%";
}

bool is_whole(const Node& number) {
  return std::floor(number.value) == number.value && std::abs(number.value) < 9e15;
}

}  // namespace

Error Lowerer::unknown(const Node& node, const Scope& scope) const {
  std::vector<std::string> known;
  for (const ir::Axis& axis : scope.axes) known.push_back(axis.name);
  for (const ir::SizeDecl& size : program_.sizes) known.push_back(size.name);
  for (const ir::InputDecl& input : program_.inputs) known.push_back(input.name);
  for (const ir::Statement& statement : program_.statements) known.push_back(statement.name);
  // One letter is near to every other: no suggestion is better than a random one.
  std::string hint = node.text.size() > 1 ? did_you_mean(node.text, known) : "";
  if (definitions_.count(node.text) != 0) hint = "it is defined further down; move that line up";
  if (is_ahead(node.text)) hint += ", or give all axes of the recurrence their extents: `i < …`";
  return error(node.offset, fmt::format("unknown name `{}`", node.text), hint);
}

Result<ir::IntExpr> Lowerer::index_name(const Node& node, const Scope& scope) {
  if (scope.find(node.text) != nullptr) return ir::int_axis(node.text);
  if (is_size(node.text)) return ir::int_size(node.text);
  if (!is_tensor(node.text)) return unknown(node, scope);
  if (rank(node.text) != 0 || is_float(program_.type_of(node.text))) {
    return error(node.offset, fmt::format("`{}` is a tensor; an index is an integer", node.text),
                 fmt::format("index an integer tensor: `{}[…]`", node.text));
  }
  ir::IntExpr gather;
  gather.kind = ir::IntExpr::Kind::kGather;
  gather.name = node.text;
  return gather;
}

Result<std::vector<ir::IntExpr>> Lowerer::indices(const Node& node, const Scope& scope) {
  if (!is_tensor(node.text) && !is_ahead(node.text)) {
    if (is_size(node.text) || scope.find(node.text) != nullptr) {
      return error(node.offset, fmt::format("`{}` is not a tensor", node.text));
    }
    return unknown(node, scope);
  }
  const std::vector<std::optional<ir::IntExpr>> extents = known_shape(node.text);
  if (node.args.size() != extents.size()) {
    std::string shape;
    for (const std::optional<ir::IntExpr>& extent : extents) {
      shape += (shape.empty() ? "" : ", ") + (extent ? ir::print(*extent) : "…");
    }
    return error(node.offset,
                 fmt::format("`{}` has shape [{}], but is used with {} {}", node.text, shape,
                             node.args.size(), node.args.size() == 1 ? "index" : "indices"));
  }
  std::vector<ir::IntExpr> list;
  for (const Node& arg : node.args) {
    QUERN_ASSIGN(ir::IntExpr made, index(arg, scope));
    list.push_back(std::move(made));
  }
  return list;
}

Result<ir::IntExpr> Lowerer::index(const Node& node, const Scope& scope) {
  using Kind = ir::IntExpr::Kind;
  if (++nodes_ > kMostNodes) return error(node.offset, "this statement is too large");
  switch (node.kind) {
    case Node::Kind::kNumber:
      if (is_whole(node)) return ir::int_constant(static_cast<int64_t>(node.value));
      return error(node.offset, fmt::format("`{}` is not an integer", node.text));
    case Node::Kind::kName:
      return index_name(node, scope);
    case Node::Kind::kUnary: {
      if (node.text != "-") break;
      QUERN_ASSIGN(ir::IntExpr inner, index(node.args[0], scope));
      return ir::int_constant(0) - std::move(inner);
    }
    case Node::Kind::kBinary: {
      if (!is_arithmetic(node.text)) break;
      QUERN_ASSIGN(ir::IntExpr a, index(node.args[0], scope));
      QUERN_ASSIGN(ir::IntExpr b, index(node.args[1], scope));
      if (b.kind == Kind::kConstant && b.value == 0 && (node.text == "/" || node.text == "%")) {
        return error(node.offset, "division by zero");
      }
      return ir::int_binary(int_kind(node.text), std::move(a), std::move(b));
    }
    case Node::Kind::kCall: {
      bool pair = (node.text == "min" || node.text == "max") && node.args.size() == 2;
      if (node.text == "index" && node.args.size() == 1) return index(node.args[0], scope);
      if (!pair) break;
      QUERN_ASSIGN(ir::IntExpr a, index(node.args[0], scope));
      QUERN_ASSIGN(ir::IntExpr b, index(node.args[1], scope));
      return ir::int_binary(node.text == "min" ? Kind::kMin : Kind::kMax, std::move(a),
                            std::move(b));
    }
    case Node::Kind::kAccess: {
      QUERN_ASSIGN(std::vector<ir::IntExpr> list, indices(node, scope));
      if (is_ahead(node.text)) {
        return error(node.offset,
                     fmt::format("`{}` cannot be an index before it is defined", node.text));
      }
      if (is_float(program_.type_of(node.text)) || !node.fallback.empty()) {
        return error(node.offset, fmt::format("`{}` cannot be an index: {}", node.text,
                                              node.fallback.empty() ? "it does not hold integers"
                                                                    : "a gather has no `else`"));
      }
      ir::IntExpr gather;
      gather.kind = Kind::kGather;
      gather.name = node.text;
      gather.args = std::move(list);
      return gather;
    }
    case Node::Kind::kReduce: {
      if (node.text != "argmax" && node.text != "argmin") break;
      ir::IntExpr gather;
      gather.kind = Kind::kGather;
      QUERN_ASSIGN(gather.name, hoist(node, scope, &gather.args));
      return gather;
    }
    default:
      break;
  }
  return error(node.offset, "this is not an integer expression",
               "indices and extents use + - * / % min max, sizes, axes and integer tensors");
}

/// Whether the tree is made of integers only; `named` is set where it holds more than literals.
bool Lowerer::integers(const Node& node, const Scope& scope, bool* named) const {
  auto all = [&] {
    return std::all_of(node.args.begin(), node.args.end(),
                       [&](const Node& arg) { return integers(arg, scope, named); });
  };
  switch (node.kind) {
    case Node::Kind::kNumber:
      return is_whole(node);
    case Node::Kind::kName: {
      // A scalar tensor is read as a value, like any tensor that is not indexed.
      if (scope.find(node.text) == nullptr && !is_size(node.text)) return false;
      *named = true;
      return true;
    }
    case Node::Kind::kUnary:
      return node.text == "-" && all();
    case Node::Kind::kBinary:
      return is_arithmetic(node.text) && all();
    case Node::Kind::kCall:
      return (node.text == "min" || node.text == "max" || node.text == "index") &&
             node.named.empty() && all();
    case Node::Kind::kAccess:
      if (!is_tensor(node.text) || is_float(program_.type_of(node.text))) return false;
      *named = true;
      return node.fallback.empty();
    default:
      return false;
  }
}

Result<ir::Expr> Lowerer::value(const Node& node, const Scope& scope) {
  QUERN_ASSIGN(ir::Expr made, any(node, scope));
  if (is_condition(made)) {
    return error(node.offset, "a condition cannot be used as a value",
                 "write `select(condition, 1, 0)`");
  }
  return made;
}

Result<ir::Expr> Lowerer::condition(const Node& node, const Scope& scope) {
  QUERN_ASSIGN(ir::Expr made, any(node, scope));
  if (!is_condition(made)) {
    return error(node.offset, "a condition is needed here", "compare: `x[i] > 0`, `j <= i`");
  }
  return made;
}

Result<ir::Expr> Lowerer::any(const Node& node, const Scope& scope) {
  if (++nodes_ > kMostNodes) return error(node.offset, "this statement is too large");
  switch (node.kind) {
    case Node::Kind::kNumber:
      return ir::constant(node.value);
    case Node::Kind::kName:
      return name_value(node, scope);
    case Node::Kind::kAccess:
      return access_value(node, scope);
    case Node::Kind::kCall:
      return call_value(node, scope);
    case Node::Kind::kBinary:
      return binary_value(node, scope);
    case Node::Kind::kReduce:
      return reduce_value(node, scope);
    case Node::Kind::kUnary: {
      bool negation = node.text == "not";
      QUERN_ASSIGN(ir::Expr inner,
                   negation ? condition(node.args[0], scope) : value(node.args[0], scope));
      return ir::apply(negation ? ir::Op::kNot : ir::Op::kNeg, {std::move(inner)});
    }
    case Node::Kind::kTuple:
      break;
  }
  return error(node.offset, "a list is not a value");
}

Result<ir::Expr> Lowerer::name_value(const Node& node, const Scope& scope) {
  if (scope.find(node.text) != nullptr) return ir::index_value(ir::int_axis(node.text));
  if (is_size(node.text)) return ir::index_value(ir::int_size(node.text));
  if (!is_tensor(node.text)) return unknown(node, scope);
  if (rank(node.text) == 0) return ir::load(node.text, {});
  return error(node.offset,
               fmt::format("`{}` has {} {}, but is used without indices", node.text,
                           rank(node.text), rank(node.text) == 1 ? "axis" : "axes"),
               fmt::format("write `{}[…]`", node.text));
}

Result<ir::Expr> Lowerer::access_value(const Node& node, const Scope& scope) {
  QUERN_ASSIGN(std::vector<ir::IntExpr> list, indices(node, scope));
  if (node.fallback.empty()) return ir::load(node.text, std::move(list));
  if (list.empty()) return error(node.offset, "`else` needs an index that can be out of range");
  QUERN_ASSIGN(ir::Expr otherwise, value(node.fallback[0], scope));
  return ir::load_else(node.text, std::move(list), std::move(otherwise));
}

Result<ir::Expr> Lowerer::reduce_value(const Node& node, const Scope& scope) {
  std::vector<ir::IntExpr> list;
  QUERN_ASSIGN(std::string name, hoist(node, scope, &list));
  ir::Expr loaded = ir::load(name, std::move(list));
  if (!find_reduction(node.text)->mean) return loaded;
  ir::IntExpr count = ir::int_constant(1);
  for (const ir::Axis& axis : program_.find_statement(name)->reduce_axes)
    count = count * axis.extent;
  return ir::apply(ir::Op::kDiv, {std::move(loaded), ir::index_value(std::move(count))});
}

Result<ir::Expr> Lowerer::binary_value(const Node& node, const Scope& scope) {
  if (node.text == "%") {
    bool named = false;
    if (integers(node, scope, &named) && named) {
      QUERN_ASSIGN(ir::IntExpr made, index(node, scope));
      return ir::index_value(std::move(made));
    }
    return error(node.offset, "`%` works on integers: sizes, axes and literals");
  }
  auto row = std::find_if(kSigns.begin(), kSigns.end(),
                          [&](const Sign& sign) { return sign.text == node.text; });
  bool logical = row->op == ir::Op::kAnd || row->op == ir::Op::kOr;
  bool comparison = !logical && ir::op_info(row->op).boolean;
  bool named = false;
  if (comparison && integers(node.args[0], scope, &named) &&
      integers(node.args[1], scope, &named) && named) {
    QUERN_ASSIGN(ir::IntExpr a, index(node.args[0], scope));
    QUERN_ASSIGN(ir::IntExpr b, index(node.args[1], scope));
    return ir::apply(row->op, {ir::index_value(std::move(a)), ir::index_value(std::move(b))});
  }
  auto side = [&](const Node& arg) { return logical ? condition(arg, scope) : value(arg, scope); };
  QUERN_ASSIGN(ir::Expr a, side(node.args[0]));
  QUERN_ASSIGN(ir::Expr b, side(node.args[1]));
  return ir::apply(row->op, {std::move(a), std::move(b)});
}

Result<ir::Expr> Lowerer::call_value(const Node& node, const Scope& scope) {
  if (node.text == "index") {
    if (node.args.size() != 1 || !node.named.empty()) {
      return error(node.offset, "`index` takes one integer expression");
    }
    QUERN_ASSIGN(ir::IntExpr made, index(node.args[0], scope));
    return ir::index_value(std::move(made));
  }
  const ir::OpInfo* primitive = ir::find_function(node.text);
  const Shorthand* shorthand = find_shorthand(node.text);
  if (primitive == nullptr && shorthand == nullptr) {
    if (const Operator* op = find_operator(node.text)) {
      return error(node.offset,
                   fmt::format("`{}` works on whole tensors, not inside indices", node.text),
                   fmt::format("give it a line of its own: `t = {}({})`", op->name, op->signature));
    }
    std::vector<std::string> known = function_names();
    for (const Operator& row : operators()) known.emplace_back(row.name);
    return error(node.offset, fmt::format("unknown function `{}`", node.text),
                 did_you_mean(node.text, known));
  }
  std::vector<ir::Expr> args;
  for (size_t i = 0; i < node.args.size(); ++i) {
    bool test = primitive != nullptr && primitive->op == ir::Op::kSelect && i == 0;
    QUERN_ASSIGN(ir::Expr arg, test ? condition(node.args[i], scope) : value(node.args[i], scope));
    args.push_back(std::move(arg));
  }
  if (primitive != nullptr) {
    if (static_cast<int>(args.size()) != primitive->arity || !node.named.empty()) {
      return error(node.offset, fmt::format("`{}` takes {} {}", node.text, primitive->arity,
                                            primitive->arity == 1 ? "argument" : "arguments"));
    }
    return ir::apply(primitive->op, std::move(args));
  }
  size_t given = args.size(), wanted = shorthand->params.size();
  size_t least = wanted - shorthand->defaults.size();
  args.resize(std::max(given, wanted));
  std::vector<bool> filled(args.size(), false);
  std::fill(filled.begin(), filled.begin() + static_cast<std::ptrdiff_t>(given), true);
  for (const ArgNode& arg : node.named) {
    auto at = std::find(shorthand->params.begin(), shorthand->params.end(), arg.name);
    if (at == shorthand->params.end() ||
        filled[static_cast<size_t>(at - shorthand->params.begin())]) {
      return error(arg.offset,
                   fmt::format("`{}` takes no such argument: `{}`", node.text, arg.name));
    }
    size_t place = static_cast<size_t>(at - shorthand->params.begin());
    QUERN_ASSIGN(args[place], value(arg.value[0], scope));
    filled[place] = true;
  }
  for (size_t i = 0; i < wanted; ++i) {
    if (!filled[i] && i >= least) args[i] = ir::constant(shorthand->defaults[i - least]);
    if (!filled[i] && i < least) given = wanted + 1;
  }
  if (given > wanted) {
    return error(node.offset,
                 fmt::format("`{}` takes ({})", node.text, fmt::join(shorthand->params, ", ")));
  }
  ir::Expr made = shorthand->expand(args);
  nodes_ += node_count(made);
  if (nodes_ > kMostNodes) {
    return error(node.offset, "this statement is too large",
                 "name the argument in a statement of its own");
  }
  return made;
}

}  // namespace quern
