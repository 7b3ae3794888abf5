// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ir/program.h"
#include "task/source.h"
#include "task/syntax.h"

namespace quern {

/// The type a statement has when none is written: i64 for positions, f64 where an f64 tensor is
/// read, else f32.
DType default_type(const ir::Program& program, const ir::Statement& statement);

/// The extent an axis gets from its direct uses as an index (`x[i]`, not `x[i] else 0`, not
/// `x[2 * i]`); empty where there are none or where they differ.
std::optional<ir::IntExpr> inferred_extent(const ir::Program& program, const ir::Expr& body,
                                           const std::string& axis);

/// Names that a task may not define: the language's own words and those of C++.
bool is_reserved(const std::string& name);

/// Gives meaning to statements as written and adds them to a program: resolves names, infers
/// extents, hoists nested reductions into statements of their own, expands operators.
class Lowerer {
 public:
  /// `identifiers`: every word of the file, so that made-up names clash with none.
  Lowerer(const Source& source, ir::Program& program, std::set<std::string> identifiers)
      : source_(source), program_(program), taken_(std::move(identifiers)) {}

  /// Says what the head of a statement to come says, so that a recurrence may read it.
  void announce(const StatementNode& head) { announced_.push_back(head); }
  Result<void> add(const StatementNode& node);
  /// Brings the lines of each recurrence together; to be called when all are added.
  void finish();
  /// An integer over sizes, as in shapes and `let`.
  Result<ir::IntExpr> extent(const Node& node);
  Result<void> define(const std::string& name, size_t offset);

  /// Where statement `index` was written.
  size_t offset_of(int index) const { return offsets_[static_cast<size_t>(index)]; }

  // What operator expansions build with.
  const ir::Program& program() const { return program_; }
  Error error(size_t offset, const std::string& message, std::string hint = "") const {
    return source_.error(offset, message, std::move(hint));
  }
  std::string fresh_name(const std::string& wish);
  /// An axis name that no size or tensor of the file has.
  std::string axis_name(const std::string& wish) const;
  void emit(ir::Statement statement);
  /// Equal at every size set of the task.
  bool same_extent(const ir::IntExpr& a, const ir::IntExpr& b) const;
  void reserve_definitions(std::set<std::string> names) { definitions_ = std::move(names); }

 private:
  struct Scope {
    std::vector<ir::Axis> axes;
    std::string statement;
    const ir::Axis* find(const std::string& name) const;
  };

  bool is_tensor(const std::string& name) const;
  bool is_ahead(const std::string& name) const {
    return !is_tensor(name) && ahead_.count(name) != 0;
  }
  /// Extents of a tensor; empty where its line comes further down and leaves them to be told.
  std::vector<std::optional<ir::IntExpr>> known_shape(const std::string& name) const;
  void take_announced();
  bool is_size(const std::string& name) const;
  size_t rank(const std::string& name) const { return program_.shape_of(name).size(); }

  Result<ir::Axis> axis(const AxisNode& node, const std::vector<const Node*>& bodies,
                        const Scope& scope);
  Result<void> direct_uses(const Node& node, const std::string& axis,
                           std::vector<std::pair<ir::IntExpr, std::string>>& found) const;
  const Node* unknown_access(const Node& node) const;
  Result<void> indexed(const StatementNode& node, std::vector<ir::Axis> axes);
  Result<void> add_body(ir::Statement statement, const Node& body, const Scope& scope);
  Result<ir::Statement> reduction(const Node& node, Scope scope, const std::string& name);
  Result<std::string> hoist(const Node& node, const Scope& scope,
                            std::vector<ir::IntExpr>* indices);

  Result<ir::IntExpr> index(const Node& node, const Scope& scope);
  Result<ir::IntExpr> index_name(const Node& node, const Scope& scope);
  Result<std::vector<ir::IntExpr>> indices(const Node& node, const Scope& scope);
  Result<ir::Expr> value(const Node& node, const Scope& scope);
  Result<ir::Expr> condition(const Node& node, const Scope& scope);
  Result<ir::Expr> any(const Node& node, const Scope& scope);
  Result<ir::Expr> name_value(const Node& node, const Scope& scope);
  Result<ir::Expr> access_value(const Node& node, const Scope& scope);
  Result<ir::Expr> call_value(const Node& node, const Scope& scope);
  Result<ir::Expr> binary_value(const Node& node, const Scope& scope);
  Result<ir::Expr> reduce_value(const Node& node, const Scope& scope);
  bool integers(const Node& node, const Scope& scope, bool* named) const;
  Error unknown(const Node& node, const Scope& scope) const;

  // Statements over whole tensors, without indices.
  bool whole_tensors(const Node& node) const;
  bool is_operator_call(const Node& node) const;
  Result<void> whole(const StatementNode& node);
  Result<void> elementwise(const Node& body, const std::string& name);
  Result<void> expand(const Node& call, const std::string& target);
  Result<Node> settled(const Node& node, const std::string& target);
  Result<std::string> tensor_argument(const Node& node, const std::string& target);
  void bare_tensors(const Node& node, std::vector<const Node*>& found) const;
  Node with_indices(const Node& node, const std::vector<ir::Axis>& axes) const;

  const Source& source_;
  ir::Program& program_;
  std::set<std::string> taken_;
  std::set<std::string> definitions_;
  std::vector<StatementNode> announced_;  ///< heads whose extents are not read yet
  std::map<std::string, std::vector<std::optional<ir::IntExpr>>> ahead_;
  std::vector<size_t> offsets_;
  size_t current_offset_ = 0;
  size_t nodes_ = 0;
};

}  // namespace quern
