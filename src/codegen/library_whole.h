// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "codegen/library_activation.h"
#include "ir/program.h"

namespace quern {

/// A whole program that is one primitive of oneDNN over one tensor `x`, which it turns into `y`.
struct WholeOperation {
  enum class Kind { kMap, kSoftmax, kNorm, kPooling, kReduction };
  Kind kind = Kind::kMap;
  std::string x, y;
  std::vector<ir::IntExpr> x_dims;  ///< kMap: [count]; kNorm: [rows, columns of one statistic]
  std::vector<ir::IntExpr> y_dims;  ///< kReduction: 1 where reduced
  Activation map{};                 ///< kMap
  size_t axis = 0;                  ///< kSoftmax
  /// kSoftmax: "accurate", "log"; kPooling: "max", "avg_include_padding", …; kReduction: "sum", …
  std::string algorithm;
  double eps = 0;           ///< kNorm: added to the variance
  std::string gamma, beta;  ///< kNorm: scale and shift, empty where there is none
  /// kNorm: x viewed as [outer, middle, inner]; gamma and beta are indexed by the middle.
  /// kReduction: the same view, reduced over the middle, where `neighbours` are reduced.
  ir::IntExpr outer, middle, inner;
  bool neighbours = false;
  bool by_column = false;  ///< kNorm: gamma and beta run along the columns
  std::vector<ir::IntExpr> kernel, stride, gap, before, after;  ///< kPooling, spatial dimensions
};

/// Guesses from the shapes what the program could be and confirms the guess by its values: the
/// program is interpreted at small sizes and compared with the formula of the primitive. Nothing
/// where there is no such primitive, or where the program cannot be run at small sizes.
std::optional<WholeOperation> match_whole(const ir::Program& program, const ir::Sizes& sizes);

}  // namespace quern
