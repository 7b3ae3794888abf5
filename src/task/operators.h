// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "task/lower.h"

namespace quern {

class Expansion;

/// A named operator on whole tensors: sugar that owns a decomposition into statements, which is
/// its meaning.
struct Operator {
  const char* name;
  const char* signature;  ///< "x, w, b?, stride = 1": tensors first, optional ones with `?`
  const char* help;       ///< one line
  Result<void> (*expand)(Expansion&);
};

const std::vector<Operator>& operators();
const Operator* find_operator(const std::string& name);

/// One use of an operator: its arguments, and what its decomposition is built with. The
/// expansion ends by defining the tensor `target()`.
class Expansion {
 public:
  Expansion(Lowerer& lowerer, const Operator& row, const Node& call, std::string target)
      : lowerer_(lowerer), row_(row), call_(call), target_(std::move(target)) {}

  /// Sorts the arguments by the signature; `tensors` are those of the leading parameters.
  Result<void> bind(std::vector<std::string> tensors, std::vector<const Node*> options);

  const std::string& target() const { return target_; }
  const std::string& tensor(const char* param) const;
  bool has(const char* param) const { return !tensor(param).empty(); }
  std::vector<ir::IntExpr> shape(const char* param) const;

  /// An option of `count` integers over sizes: one for all, or a list.
  Result<std::vector<ir::IntExpr>> integers(const char* option, size_t count, int64_t fallback);
  Result<double> number(const char* option, double fallback);
  Result<bool> flag(const char* option);
  /// Positions of axes of a tensor of that rank; negative ones count from the end.
  Result<std::vector<size_t>> positions(const char* option, size_t rank, int64_t fallback);
  bool given(const char* option) const { return find(option) != nullptr; }

  ir::Axis axis(const std::string& wish, const ir::IntExpr& extent) const;
  /// Axes named by the letters of `wishes` over a shape.
  std::vector<ir::Axis> axes(const std::string& wishes,
                             const std::vector<ir::IntExpr>& shape) const;
  std::string fresh(const std::string& suffix) {
    return lowerer_.fresh_name(target_ + "_" + suffix);
  }

  void map(const std::string& name, std::vector<ir::Axis> axes, ir::Expr body);
  void reduce(const std::string& name, ir::Monoid monoid, std::vector<ir::Axis> axes,
              std::vector<ir::Axis> over, ir::Expr body);
  void scan(const std::string& name, ir::Monoid monoid, std::vector<ir::Axis> axes, size_t along,
            ir::Expr body, bool exclusive, bool reverse);

  Result<void> want_rank(const char* param, size_t rank) const;
  Result<void> want_same(const ir::IntExpr& a, const ir::IntExpr& b, const std::string& what) const;
  Error error(const std::string& message, std::string hint = "") const;

 private:
  const Node* find(const char* option) const;

  Lowerer& lowerer_;
  const Operator& row_;
  const Node& call_;
  std::string target_;
  std::vector<std::pair<std::string, std::string>> tensors_;
  std::vector<std::pair<std::string, const Node*>> options_;
};

/// a / b and a + b with what is known folded: a / a is 1, and constants are gathered at the end.
ir::IntExpr quotient(ir::IntExpr a, ir::IntExpr b);
ir::IntExpr total(ir::IntExpr a, const ir::IntExpr& b);

/// Places of a window along one axis: (extent + 2 padding - reach) / stride + 1, where the window
/// of `kernel` taps reaches over dilation (kernel - 1) + 1 places.
ir::IntExpr window_reach(const ir::IntExpr& kernel, const ir::IntExpr& dilation);
ir::IntExpr window_places(const ir::IntExpr& extent, const ir::IntExpr& kernel,
                          const ir::IntExpr& stride, const ir::IntExpr& padding,
                          const ir::IntExpr& dilation);

/// The parameters of a signature.
struct Signature {
  struct Param {
    std::string name;
    bool tensor = false, optional = false;
  };
  std::vector<Param> params;
};
Signature parse_signature(const char* text);

std::vector<Operator> contraction_operators();
std::vector<Operator> window_operators();
std::vector<Operator> row_operators();

}  // namespace quern
