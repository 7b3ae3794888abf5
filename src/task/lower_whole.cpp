// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "ir/program.h"
#include "task/lower.h"
#include "task/operators.h"

namespace quern {

/// A call of a tensor operator. `max` and `min` of one argument reduce a tensor; of two they are
/// scalar functions.
bool Lowerer::is_operator_call(const Node& node) const {
  if (node.kind != Node::Kind::kCall || find_operator(node.text) == nullptr) return false;
  return ir::find_function(node.text) == nullptr || node.args.size() == 1;
}

void Lowerer::bare_tensors(const Node& node, std::vector<const Node*>& found) const {
  if (node.kind == Node::Kind::kName && is_tensor(node.text) && rank(node.text) > 0) {
    found.push_back(&node);
  }
  if (node.kind == Node::Kind::kAccess || node.kind == Node::Kind::kReduce) return;
  for (const Node& arg : node.args) bare_tensors(arg, found);
  for (const ArgNode& arg : node.named) bare_tensors(arg.value[0], found);
}

bool Lowerer::whole_tensors(const Node& node) const {
  if (is_operator_call(node)) return true;
  if (node.kind == Node::Kind::kName) return is_tensor(node.text) && rank(node.text) > 0;
  if (node.kind == Node::Kind::kAccess || node.kind == Node::Kind::kReduce) return false;
  return std::any_of(node.args.begin(), node.args.end(),
                     [&](const Node& arg) { return whole_tensors(arg); });
}

Result<void> Lowerer::whole(const StatementNode& node) {
  if (is_operator_call(node.body)) return expand(node.body, node.name);
  QUERN_ASSIGN(Node body, settled(node.body, node.name));
  return elementwise(body, node.name);
}

/// The tree with every operator call replaced by the name of the tensor it was expanded to.
Result<Node> Lowerer::settled(const Node& node, const std::string& target) {
  if (is_operator_call(node)) {
    std::string name = fresh_name(fmt::format("{}_{}", target, node.text));
    QUERN_TRY(expand(node, name));
    Node made;
    made.kind = Node::Kind::kName;
    made.offset = node.offset;
    made.text = name;
    return made;
  }
  Node made = node;
  if (node.kind == Node::Kind::kAccess || node.kind == Node::Kind::kReduce) return made;
  for (Node& arg : made.args) {
    QUERN_ASSIGN(arg, settled(arg, target));
  }
  return made;
}

Result<std::string> Lowerer::tensor_argument(const Node& node, const std::string& target) {
  if (node.kind == Node::Kind::kName && is_tensor(node.text)) return node.text;
  if (node.kind == Node::Kind::kName) return unknown(node, Scope{});
  if (!whole_tensors(node)) return error(node.offset, "a tensor is needed here");
  if (is_operator_call(node)) {
    std::string name = fresh_name(fmt::format("{}_{}", target, node.text));
    QUERN_TRY(expand(node, name));
    return name;
  }
  std::string name = fresh_name(target + "_in");
  QUERN_ASSIGN(Node body, settled(node, name));
  QUERN_TRY(elementwise(body, name));
  return name;
}

Node Lowerer::with_indices(const Node& node, const std::vector<ir::Axis>& axes) const {
  Node made = node;
  if (node.kind == Node::Kind::kAccess || node.kind == Node::Kind::kReduce) return made;
  if (node.kind != Node::Kind::kName || !is_tensor(node.text) || rank(node.text) == 0) {
    for (Node& arg : made.args) arg = with_indices(arg, axes);
    return made;
  }
  made.kind = Node::Kind::kAccess;
  std::vector<ir::IntExpr> shape = program_.shape_of(node.text);
  for (size_t d = 0; d < shape.size(); ++d) {
    const ir::Axis& axis = axes[axes.size() - shape.size() + d];
    Node index;
    index.offset = node.offset;
    bool stretched = shape[d] == ir::int_constant(1) && !(axis.extent == shape[d]);
    if (!stretched) {
      index.kind = Node::Kind::kName;
      index.text = axis.name;
    }
    made.args.push_back(std::move(index));
  }
  return made;
}

/// An expression of whole tensors: one statement over their common shape, aligned at the last
/// axis; an extent of 1 stretches.
Result<void> Lowerer::elementwise(const Node& body, const std::string& name) {
  std::vector<const Node*> tensors;
  bare_tensors(body, tensors);
  std::vector<ir::Axis> axes;
  for (const Node* tensor : tensors) {
    std::vector<ir::IntExpr> shape = program_.shape_of(tensor->text);
    while (axes.size() < shape.size()) axes.insert(axes.begin(), ir::Axis{"", ir::int_constant(1)});
    for (size_t d = 0; d < shape.size(); ++d) {
      ir::Axis& axis = axes[axes.size() - shape.size() + d];
      if (axis.extent == ir::int_constant(1)) axis.extent = shape[d];
      if (shape[d] == ir::int_constant(1) || same_extent(shape[d], axis.extent)) continue;
      return error(tensor->offset,
                   fmt::format("shapes do not match: axis {} of `{}` has extent `{}`, but `{}` is "
                               "needed",
                               d, tensor->text, ir::print(shape[d]), ir::print(axis.extent)));
    }
  }
  static constexpr const char* kLetters[] = {"i", "j", "k", "l", "m", "n"};
  if (axes.size() > std::size(kLetters)) {
    return error(body.offset, "a tensor of so many axes needs indices");
  }
  for (size_t d = 0; d < axes.size(); ++d) axes[d].name = axis_name(kLetters[d]);
  Scope scope{axes, name};
  ir::Statement statement;
  statement.name = name;
  statement.axes = axes;
  QUERN_ASSIGN(statement.body, value(with_indices(body, axes), scope));
  emit(std::move(statement));
  return {};
}

Result<void> Lowerer::expand(const Node& call, const std::string& target) {
  const Operator& row = *find_operator(call.text);
  Signature signature = parse_signature(row.signature);
  std::vector<std::string> tensors(signature.params.size());
  std::vector<const Node*> options(signature.params.size(), nullptr);
  auto usage = [&] { return fmt::format("usage: {}({})", row.name, row.signature); };
  auto bind = [&](size_t at, const Node& value, size_t offset) -> Result<void> {
    if (!tensors[at].empty() || options[at] != nullptr) {
      return error(offset, fmt::format("`{}` is given twice", signature.params[at].name), usage());
    }
    if (!signature.params[at].tensor) {
      options[at] = &value;
      return {};
    }
    QUERN_ASSIGN(tensors[at], tensor_argument(value, target));
    return {};
  };
  for (size_t i = 0; i < call.args.size(); ++i) {
    if (i >= signature.params.size()) {
      return error(call.args[i].offset, fmt::format("`{}` takes fewer arguments", row.name),
                   usage());
    }
    QUERN_TRY(bind(i, call.args[i], call.args[i].offset));
  }
  for (const ArgNode& arg : call.named) {
    size_t at = 0;
    while (at < signature.params.size() && signature.params[at].name != arg.name) ++at;
    if (at == signature.params.size()) {
      return error(arg.offset, fmt::format("`{}` has no argument `{}`", row.name, arg.name),
                   usage());
    }
    QUERN_TRY(bind(at, arg.value[0], arg.offset));
  }
  for (size_t i = 0; i < signature.params.size(); ++i) {
    const Signature::Param& param = signature.params[i];
    if (!param.tensor || param.optional || !tensors[i].empty()) continue;
    return error(call.offset, fmt::format("`{}` needs the tensor `{}`", row.name, param.name),
                 usage());
  }
  Expansion expansion(*this, row, call, target);
  QUERN_TRY(expansion.bind(std::move(tensors), std::move(options)));
  return row.expand(expansion);
}

}  // namespace quern
