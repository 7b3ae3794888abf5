// SPDX-License-Identifier: Apache-2.0
#include "task/lower.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/recurrence.h"

namespace quern {
namespace {

constexpr size_t kMostStatements = 4096;

void direct_uses_of(const ir::Program& program, const ir::IntExpr& expr, const std::string& axis,
                    std::vector<ir::IntExpr>& found);

void position_uses(const ir::Program& program, const std::string& tensor,
                   const std::vector<ir::IntExpr>& indices, const std::string& axis,
                   std::vector<ir::IntExpr>& found) {
  std::vector<ir::IntExpr> shape = program.shape_of(tensor);
  for (size_t d = 0; d < indices.size() && d < shape.size(); ++d) {
    if (indices[d].kind == ir::IntExpr::Kind::kAxis && indices[d].name == axis) {
      found.push_back(shape[d]);
    }
  }
}

void direct_uses_of(const ir::Program& program, const ir::IntExpr& expr, const std::string& axis,
                    std::vector<ir::IntExpr>& found) {
  if (expr.kind == ir::IntExpr::Kind::kGather) {
    position_uses(program, expr.name, expr.args, axis, found);
  }
  for (const ir::IntExpr& arg : expr.args) direct_uses_of(program, arg, axis, found);
}

void direct_uses_of(const ir::Program& program, const ir::Expr& expr, const std::string& axis,
                    std::vector<ir::IntExpr>& found) {
  if (expr.kind == ir::Expr::Kind::kLoad && expr.args.empty()) {
    position_uses(program, expr.name, expr.indices, axis, found);
  }
  for (const ir::IntExpr& index : expr.indices) direct_uses_of(program, index, axis, found);
  for (const ir::Expr& arg : expr.args) direct_uses_of(program, arg, axis, found);
}

}  // namespace

DType default_type(const ir::Program& program, const ir::Statement& statement) {
  bool position =
      statement.kind == ir::Statement::Kind::kReduce &&
      (statement.monoid == ir::Monoid::kArgMax || statement.monoid == ir::Monoid::kArgMin);
  if (position) return DType::kI64;
  // What comes later does not count: its own type may follow from this one.
  const int own = program.statement_index(statement.name);
  for (const ir::Expr* load : ir::loads_of(statement.body)) {
    const int made = program.statement_index(load->name);
    if (made < 0 ? program.find_input(load->name) == nullptr : own >= 0 && made >= own) continue;
    if (program.type_of(load->name) == DType::kF64) return DType::kF64;
  }
  return DType::kF32;
}

std::optional<ir::IntExpr> inferred_extent(const ir::Program& program, const ir::Expr& body,
                                           const std::string& axis) {
  std::vector<ir::IntExpr> found;
  direct_uses_of(program, body, axis, found);
  for (const ir::IntExpr& extent : found) {
    if (!(extent == found.front())) return std::nullopt;
  }
  if (found.empty()) return std::nullopt;
  return found.front();
}

bool is_reserved(const std::string& name) {
  static const auto* words = new std::set<std::string>{
      // the language's own
      "task", "sizes", "let", "input", "param", "output", "as", "else", "inf", "index", "select",
      "precision", "exclusive", "reverse", "full", "mean",
      // C and C++
      "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break",
      "case", "catch", "char", "class", "compl", "concept", "const", "consteval", "constexpr",
      "constinit", "const_cast", "continue", "co_await", "co_return", "co_yield", "decltype",
      "default", "delete", "do", "double", "dynamic_cast", "enum", "explicit", "export", "extern",
      "false", "float", "for", "friend", "goto", "if", "inline", "int", "long", "main", "mutable",
      "namespace", "new", "noexcept", "not", "not_eq", "nullptr", "operator", "or", "or_eq",
      "private", "protected", "public", "register", "reinterpret_cast", "requires", "restrict",
      "return", "short", "signed", "sizeof", "static", "static_assert", "static_cast", "std",
      "struct", "switch", "template", "this", "thread_local", "throw", "true", "try", "typedef",
      "typeid", "typename", "union", "unsigned", "using", "virtual", "void", "volatile", "wchar_t",
      "while", "xor", "xor_eq", "quern"};
  return words->count(name) != 0 || find_reduction(name) != nullptr ||
         ir::find_function(name) != nullptr;
}

const ir::Axis* Lowerer::Scope::find(const std::string& name) const {
  for (const ir::Axis& axis : axes) {
    if (axis.name == name) return &axis;
  }
  return nullptr;
}

bool Lowerer::is_tensor(const std::string& name) const {
  return program_.find_input(name) != nullptr || program_.find_statement(name) != nullptr;
}

std::vector<std::optional<ir::IntExpr>> Lowerer::known_shape(const std::string& name) const {
  if (!is_tensor(name)) return ahead_.at(name);
  const std::vector<ir::IntExpr> shape = program_.shape_of(name);
  return {shape.begin(), shape.end()};
}

void Lowerer::take_announced() {
  for (const StatementNode& head : announced_) {
    std::vector<std::optional<ir::IntExpr>>& extents = ahead_[head.name];
    extents.clear();
    for (const AxisNode& axis : head.axes) {
      extents.emplace_back();
      if (axis.extent.empty()) continue;
      nodes_ = 0;
      // A fault is told where the statement itself is read.
      Result<ir::IntExpr> extent = index(axis.extent[0], Scope{});
      if (extent) extents.back() = std::move(*extent);
    }
  }
  announced_.clear();
}

void Lowerer::finish() {
  const std::vector<size_t> offsets = offsets_;
  const std::vector<int> from = ir::gather_recurrences(program_);
  for (size_t s = 0; s < from.size(); ++s) offsets_[s] = offsets[static_cast<size_t>(from[s])];
}

bool Lowerer::is_size(const std::string& name) const {
  return std::any_of(program_.sizes.begin(), program_.sizes.end(),
                     [&](const ir::SizeDecl& size) { return size.name == name; });
}

Result<void> Lowerer::define(const std::string& name, size_t offset) {
  if (is_reserved(name)) {
    return error(offset, fmt::format("`{}` is a reserved word", name), "choose another name");
  }
  if (is_tensor(name) || is_size(name)) {
    return error(offset, fmt::format("`{}` is defined twice", name));
  }
  return {};
}

std::string Lowerer::fresh_name(const std::string& wish) {
  std::string name = wish;
  for (int i = 2; taken_.count(name) != 0 || is_reserved(name); ++i) {
    name = fmt::format("{}_{}", wish, i);
  }
  taken_.insert(name);
  definitions_.insert(name);
  return name;
}

std::string Lowerer::axis_name(const std::string& wish) const {
  std::string name = wish;
  for (int i = 1; definitions_.count(name) != 0 || is_reserved(name); ++i) {
    name = fmt::format("{}{}", wish, i);
  }
  return name;
}

void Lowerer::emit(ir::Statement statement) {
  statement.type = default_type(program_, statement);
  program_.statements.push_back(std::move(statement));
  offsets_.push_back(current_offset_);
}

bool Lowerer::same_extent(const ir::IntExpr& a, const ir::IntExpr& b) const {
  if (a == b) return true;
  std::vector<std::string> sets = {"full"};
  for (const ir::SizeSet& set : program_.size_sets) sets.push_back(set.name);
  for (const std::string& set : sets) {
    Result<ir::Sizes> sizes = ir::bind_sizes(program_, set);
    if (!sizes || ir::evaluate(a, *sizes) != ir::evaluate(b, *sizes)) return false;
  }
  return true;
}

Result<ir::IntExpr> Lowerer::extent(const Node& node) { return index(node, Scope{}); }

/// Notes the extents of the dimensions that `axis` indexes directly, with the tensor of each.
Result<void> Lowerer::direct_uses(const Node& node, const std::string& axis,
                                  std::vector<std::pair<ir::IntExpr, std::string>>& found) const {
  const bool known = is_tensor(node.text) || is_ahead(node.text);
  if (node.kind == Node::Kind::kAccess && node.fallback.empty() && known) {
    const std::vector<std::optional<ir::IntExpr>> shape = known_shape(node.text);
    for (size_t d = 0; d < node.args.size() && d < shape.size(); ++d) {
      const Node& index = node.args[d];
      if (index.kind != Node::Kind::kName || index.text != axis || !shape[d]) continue;
      found.emplace_back(*shape[d], node.text);
      if (found.back().first == found.front().first) continue;
      return error(index.offset,
                   fmt::format("axis `{}` runs over `{}` in `{}`, but over `{}` in `{}`: shapes do "
                               "not match",
                               axis, ir::print(found.front().first), found.front().second,
                               ir::print(*shape[d]), node.text),
                   fmt::format("if that is meant, give the extent: `{} < …`", axis));
    }
  }
  for (const std::vector<Node>* list : {&node.args, &node.fallback}) {
    for (const Node& child : *list) QUERN_TRY(direct_uses(child, axis, found));
  }
  return {};
}

/// The first access of something that is no tensor: likely why an axis has no extent.
const Node* Lowerer::unknown_access(const Node& node) const {
  if (node.kind == Node::Kind::kAccess && !is_tensor(node.text)) return &node;
  for (const std::vector<Node>* list : {&node.args, &node.fallback}) {
    for (const Node& child : *list) {
      if (const Node* found = unknown_access(child)) return found;
    }
  }
  return nullptr;
}

Result<ir::Axis> Lowerer::axis(const AxisNode& node, const std::vector<const Node*>& bodies,
                               const Scope& scope) {
  if (is_reserved(node.name)) {
    return error(node.offset, fmt::format("`{}` is a reserved word", node.name),
                 "choose another name");
  }
  if (definitions_.count(node.name) != 0) {
    return error(node.offset,
                 fmt::format("axis `{}` has the name of a {}", node.name,
                             is_size(node.name) ? "size" : "tensor"),
                 "give the axis another name");
  }
  if (scope.find(node.name) != nullptr) {
    return error(node.offset, fmt::format("there is already an axis `{}` here", node.name),
                 "give the inner axis another name");
  }
  if (!node.extent.empty()) {
    QUERN_ASSIGN(ir::IntExpr extent, index(node.extent[0], Scope{}));
    return ir::Axis{node.name, std::move(extent)};
  }
  std::vector<std::pair<ir::IntExpr, std::string>> found;
  for (const Node* body : bodies) QUERN_TRY(direct_uses(*body, node.name, found));
  if (!found.empty()) return ir::Axis{node.name, found.front().first};
  for (const Node* body : bodies) {
    const Node* stranger = unknown_access(*body);
    if (stranger != nullptr) return unknown(*stranger, scope);
  }
  return error(
      node.offset,
      fmt::format("cannot tell the extent of axis `{}`: nothing is indexed by it alone", node.name),
      fmt::format("write `{} < extent`", node.name));
}

Result<void> Lowerer::add(const StatementNode& node) {
  take_announced();
  QUERN_TRY(define(node.name, node.offset));
  current_offset_ = node.offset;
  nodes_ = 0;
  std::optional<DType> type;
  if (!node.type.empty()) {
    type = dtype_from_name(node.type);
    if (!type) {
      return error(node.type_offset, fmt::format("unknown type `{}`", node.type),
                   "types are f32, f64, i32, i64");
    }
  }
  if (!node.has_axes && whole_tensors(node.body)) {
    QUERN_TRY(whole(node));
  } else {
    Scope outer;
    std::vector<ir::Axis> axes;
    for (const AxisNode& written : node.axes) {
      QUERN_ASSIGN(ir::Axis made, axis(written, {&node.body}, outer));
      outer.axes.push_back(std::move(made));
    }
    QUERN_TRY(indexed(node, std::move(outer.axes)));
  }
  if (program_.statements.size() > kMostStatements) {
    return error(node.offset, fmt::format("a task has at most {} statements", kMostStatements));
  }
  ir::Statement& last = program_.statements.back();
  last.is_output = node.is_output;
  if (type) last.type = *type;
  if (!node.origin.empty()) last.origin = node.origin;
  return {};
}

Result<void> Lowerer::indexed(const StatementNode& node, std::vector<ir::Axis> axes) {
  Scope scope{axes, node.name};
  ir::Statement statement;
  statement.name = node.name;
  statement.axes = std::move(axes);
  return add_body(std::move(statement), node.body, scope);
}

/// Adds `statement` with that body; a reduction at the top of the body becomes its kind.
Result<void> Lowerer::add_body(ir::Statement statement, const Node& body, const Scope& scope) {
  bool reduces = body.kind == Node::Kind::kReduce && !find_reduction(body.text)->mean;
  if (!reduces) {
    QUERN_ASSIGN(statement.body, value(body, scope));
    emit(std::move(statement));
    return {};
  }
  QUERN_ASSIGN(ir::Statement reduced, reduction(body, scope, statement.name));
  reduced.axes = std::move(statement.axes);
  if (reduced.kind == ir::Statement::Kind::kScan) {
    for (size_t d = 0; d < reduced.axes.size(); ++d) {
      if (reduced.axes[d].name == body.axes[0].name) reduced.scan_axis = static_cast<int>(d);
    }
  }
  emit(std::move(reduced));
  return {};
}

/// The statement a reduction or scan means, with its body in place; its axes are left empty.
Result<ir::Statement> Lowerer::reduction(const Node& node, Scope scope, const std::string& name) {
  const ReductionWord& word = *find_reduction(node.text);
  ir::Statement statement;
  statement.name = name;
  statement.monoid = word.monoid;
  statement.exclusive = node.exclusive;
  statement.reverse = node.reverse;
  if (word.scan) {
    statement.kind = ir::Statement::Kind::kScan;
    const AxisNode& along = node.axes[0];
    if (node.axes.size() != 1 || !along.extent.empty() || scope.find(along.name) == nullptr) {
      return error(along.offset,
                   fmt::format("`{}` runs along one axis of its own statement", node.text),
                   fmt::format("for example `y[i, j] = {}[j] x[i, j]`", node.text));
    }
  } else {
    statement.kind = ir::Statement::Kind::kReduce;
    for (const AxisNode& written : node.axes) {
      QUERN_ASSIGN(ir::Axis made, axis(written, {&node.args[0]}, scope));
      statement.reduce_axes.push_back(made);
      scope.axes.push_back(std::move(made));
    }
    bool position = word.monoid == ir::Monoid::kArgMax || word.monoid == ir::Monoid::kArgMin;
    if (position && node.axes.size() != 1) {
      return error(node.axes[1].offset, fmt::format("`{}` runs over exactly one axis", node.text));
    }
  }
  QUERN_ASSIGN(statement.body, value(node.args[0], scope));
  for (size_t i = 0; i < statement.reduce_axes.size(); ++i) {
    if (ir::uses_axis(statement.body, statement.reduce_axes[i].name)) continue;
    return error(node.axes[i].offset,
                 fmt::format("the reduction axis `{}` is not used", statement.reduce_axes[i].name));
  }
  return statement;
}

/// Gives a reduction inside an expression a statement of its own, over the enclosing axes it uses.
Result<std::string> Lowerer::hoist(const Node& node, const Scope& scope,
                                   std::vector<ir::IntExpr>* indices) {
  const ReductionWord& word = *find_reduction(node.text);
  std::string name =
      fresh_name(fmt::format("{}_{}", scope.statement, word.mean ? "sum" : node.text));
  Scope inner{scope.axes, name};
  QUERN_ASSIGN(ir::Statement statement, reduction(node, inner, name));
  for (const ir::Axis& axis : scope.axes) {
    bool along = statement.kind == ir::Statement::Kind::kScan && node.axes[0].name == axis.name;
    if (!along && !ir::uses_axis(statement.body, axis.name)) continue;
    if (along) statement.scan_axis = static_cast<int>(statement.axes.size());
    statement.axes.push_back(axis);
    indices->push_back(ir::int_axis(axis.name));
  }
  emit(std::move(statement));
  return name;
}

}  // namespace quern
