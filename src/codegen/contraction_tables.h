// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "codegen/contraction_match.h"
#include "ir/program.h"

namespace quern {

/// The flattened dimensions of a contraction.
enum class Dim { kBatch, kM, kN, kK };

/// The offset tables of one contraction: for every dimension a loop nest over its axes fills, in
/// flattened order, one array per distinct integer expression. In generated code an array is
/// `q_m3`, with runs it is the `qg::Table` `q_T_m3`; extents are `q_nb`, `q_nm`, `q_nn`, `q_nk`.
class Tables {
 public:
  Tables() = default;
  Tables(const ir::Program& program, const Contraction& contraction);

  /// Name of the array of `value` (over that dimension's axes and sizes).
  std::string add(Dim dim, const ir::IntExpr& value);
  /// The same as a `qg::Table`.
  std::string add_runs(Dim dim, const ir::IntExpr& value);
  /// Declarations `const int64_t a_i = q_m0[position];` of all axes of the dimension.
  std::string decode(Dim dim, const std::string& position);
  /// Code that declares the extents and fills all arrays.
  std::string print() const;

 private:
  struct Array {
    ir::IntExpr value;
    bool runs = false;
  };
  struct Dimension {
    std::vector<ir::Axis> axes;
    std::vector<Array> arrays;
  };
  size_t find(Dim dim, const ir::IntExpr& value);
  std::string fill(size_t dim) const;

  const ir::Program* program_ = nullptr;
  std::vector<ir::Expr> k_filters_;
  std::array<Dimension, 4> dims_;
};

/// The row-major offset of `tensor[indices]` as an expression.
ir::IntExpr offset_of(const ir::Program& program, const std::string& tensor,
                      const std::vector<ir::IntExpr>& indices);

}  // namespace quern
