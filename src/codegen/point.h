// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ir/program.h"

namespace quern {

/// Where the value of a load is: a variable that holds it, or memory.
struct Place {
  bool is_variable = false;
  bool lanes = false;  ///< the variable has one value a lane
  std::string text;    ///< the variable, or the base pointer
  DType type = DType::kF32;
  std::vector<ir::IntExpr> shape;    ///< memory only
  std::vector<ir::IntExpr> indices;  ///< memory only; the last may be flat (see c_offset)
};

/// A C++ expression; `lanes`: its type is that of the lane tag `w` in scope, else it is a float,
/// bool or integer that is the same for all lanes.
struct Text {
  std::string code;
  bool lanes = false;
};

/// Prints the value of a scalar expression at one point of a loop nest, as C++ that is generic over
/// the lane tag `w` (`QOne`, `QFull`, `QPart`); lanes run along axis `lane_axis`.
class PointPrinter {
 public:
  using Resolve = std::function<Place(const ir::Expr& load)>;

  /// `guarding`: selects of the statement keep loads inside their tensors (`has_guarding_select`).
  PointPrinter(const ir::Program& program, std::string lane_axis, bool guarding, Resolve resolve)
      : program_(program),
        lane_(std::move(lane_axis)),
        guarding_(guarding),
        resolve_(std::move(resolve)) {}

  Text value(const ir::Expr& expr);
  /// As `value`, widened to the type of `w`.
  std::string wide(const ir::Expr& expr);
  /// Definitions of lane-invariant parts, to print before the loop over lanes.
  const std::vector<std::string>& invariants() const { return invariants_; }
  /// Index and extent of every guarded load printed so far.
  const std::vector<std::pair<ir::IntExpr, ir::IntExpr>>& guards() const { return guards_; }
  /// Names of invariants start with this; lets several printers share a scope.
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  /// Exponentials, and divisions by what is the same for all lanes, in fewer instructions and one
  /// or two ulp more error.
  void set_approximate(bool approximate) { approximate_ = approximate; }

 private:
  Text condition(const ir::Expr& expr);
  Text load(const ir::Expr& expr);
  Text guarded_load(const ir::Expr& expr, const Place& place);
  Text memory_load(const Place& place);
  Text select(const ir::Expr& expr);
  Text operation(const ir::Expr& expr);
  Text division(const ir::Expr& expr);
  Text index_value(const ir::IntExpr& index);
  Text compare_indices(const ir::Expr& expr);
  /// A lane-invariant subexpression of an expression with lanes, computed ahead of the loop.
  std::string hoisted(const Text& text);
  std::string widened(const Text& text) const;
  bool uses_lane(const ir::IntExpr& expr) const;
  bool uses_lane(const std::vector<ir::IntExpr>& exprs) const;
  std::string lane_variable() const;
  std::string by_lane(const std::string& function, const std::string& code) const;

  const ir::Program& program_;
  std::string lane_;
  bool guarding_;
  bool approximate_ = false;
  Resolve resolve_;
  int guarded_ = 0;  ///< inside a side of a select: nothing may be computed ahead
  std::vector<std::string> invariants_;
  std::map<std::string, std::string> invariant_names_;
  std::vector<std::pair<ir::IntExpr, ir::IntExpr>> guards_;
  std::string prefix_ = "h";
};

/// Whether a select in the statement may guard loads that else leave their tensor: its sides can
/// then not be computed for lanes that did not choose them.
bool has_guarding_select(const ir::Program& program, const ir::Statement& statement);

}  // namespace quern
