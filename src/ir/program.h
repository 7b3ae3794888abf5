// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "ir/expr.h"
#include "tensor/dtype.h"

namespace quern::ir {

/// How the values of an input are drawn. `kUniform`: [a, b); `kNormal`: mean a, deviation b;
/// `kIntegers`: whole numbers in [a, b] (bounds may use sizes); `kConstant`: a.
struct Distribution {
  enum class Kind { kUniform, kNormal, kIntegers, kConstant };
  /// Of the last two axes: 0 above or below the diagonal, or equal to its own transpose.
  enum class Structure { kNone, kLower, kUpper, kSymmetric };
  Kind kind = Kind::kNormal;
  Structure structure = Structure::kNone;
  double a = 0;
  double b = 1;
  /// kIntegers only: bounds as expressions over sizes (class labels run to `classes - 1`).
  IntExpr low, high;

  bool operator==(const Distribution&) const = default;
};

/// A named extent of a task with its published value, and extents derived from others.
struct SizeDecl {
  std::string name;
  int64_t value = 0;           ///< value in the size set `full`
  std::optional<IntExpr> let;  ///< derived: `let oh = (h + 2 * pad - k) / stride + 1`
  bool operator==(const SizeDecl&) const = default;
};

/// An input tensor. Parameters (weights) are inputs that a framework would own; they are drawn at
/// random for verification like any other.
struct InputDecl {
  std::string name;
  DType type = DType::kF32;
  std::vector<IntExpr> shape;
  Distribution distribution;
  bool is_param = false;
  bool operator==(const InputDecl&) const = default;
};

struct Axis {
  std::string name;
  IntExpr extent;  ///< over sizes only; the axis runs from 0 to extent - 1
  bool operator==(const Axis&) const = default;
};

/// "lower", "upper", "symmetric", or "".
const char* structure_name(Distribution::Structure structure);

enum class Monoid { kSum, kProd, kMax, kMin, kArgMax, kArgMin };
const char* monoid_name(Monoid monoid);  ///< "sum", "prod", "max", "min", "argmax", "argmin"

/// One defining equation: for every point of `axes`, `name[axes] = …body…`.
/// - kMap: the body.
/// - kReduce: `monoid` over `reduce_axes` of the body. Arg-forms yield the (first) position along
///   the one reduce axis. A reduction over an empty range is refused by `check`.
/// - kScan: running `monoid` (sum, prod, max, min) of the body along `axes[scan_axis]`;
///   `exclusive` leaves the own element out, `reverse` runs from the last to the first.
struct Statement {
  enum class Kind { kMap, kReduce, kScan };
  std::string name;
  DType type = DType::kF32;
  std::vector<Axis> axes;
  Kind kind = Kind::kMap;
  Monoid monoid = Monoid::kSum;
  std::vector<Axis> reduce_axes;
  int scan_axis = -1;
  bool exclusive = false;
  bool reverse = false;
  Expr body;
  bool is_output = false;
  /// The named operator this statement came from ("softmax"), empty for a plain statement.
  std::string origin;

  bool operator==(const Statement&) const = default;
};

struct SizeSet {
  std::string name;
  std::map<std::string, int64_t> values;  ///< sizes not named keep their published value
  bool operator==(const SizeSet&) const = default;
};

/// Concrete values of all sizes, derived ones included.
using Sizes = std::map<std::string, int64_t>;

/// What a task computes. Statements, a tensor each, come in order of use (but see recurrence.h).
/// Precision contracts: `fp32`; `as_reference` is fp32 except that, on a GPU, convolutions may
/// round their operands to TF32, as the framework's default does there. On a CPU the two are one.
struct Program {
  std::string name;
  std::vector<std::string> doc;  ///< leading comment lines, without "# "
  std::vector<SizeDecl> sizes;
  std::vector<SizeSet> size_sets;
  std::vector<InputDecl> inputs;
  std::vector<Statement> statements;
  std::string precision = "fp32";

  bool operator==(const Program&) const = default;

  const InputDecl* find_input(const std::string& tensor) const;
  const Statement* find_statement(const std::string& tensor) const;
  int statement_index(const std::string& tensor) const;  ///< -1 where there is none
  std::vector<const Statement*> outputs() const;
  DType type_of(const std::string& tensor) const;
  /// Extents of an input or of a statement's tensor, over sizes.
  std::vector<IntExpr> shape_of(const std::string& tensor) const;
  /// Sizes that are not derived, in order: the integer arguments of a CPU kernel.
  std::vector<std::string> free_sizes() const;
};

/// Values of all sizes in the named set ("full", or one the task declares). Errors: unknown set
/// (with a suggestion), a size that is not positive.
Result<Sizes> bind_sizes(const Program& program, const std::string& size_set);
/// As above from explicit values for the free sizes.
Result<Sizes> bind_sizes(const Program& program, const std::map<std::string, int64_t>& free_values);

/// The value of an expression without axes and gathers.
int64_t evaluate(const IntExpr& expr, const Sizes& sizes);
Shape evaluate_shape(const std::vector<IntExpr>& shape, const Sizes& sizes);
Shape shape_of(const Program& program, const std::string& tensor, const Sizes& sizes);
Affine affine_form(const IntExpr& expr, const Sizes& sizes);

/// Gives each matrix in `data` (row-major, the last two axes of `shape`) a structure: zeroes what
/// lies on the other side of the diagonal, or mirrors the lower half.
template <class T>
void impose(Distribution::Structure structure, const Shape& shape, T* data) {
  using Structure = Distribution::Structure;
  if (structure == Structure::kNone || shape.size() < 2) return;
  const int64_t n = shape.back(), matrices = n == 0 ? 0 : element_count(shape) / (n * n);
  for (int64_t m = 0; m < matrices; ++m, data += n * n) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i + 1; j < n; ++j) {
        T &above = data[i * n + j], &below = data[j * n + i];
        if (structure == Structure::kSymmetric) above = below;
        if (structure == Structure::kLower) above = T{};
        if (structure == Structure::kUpper) below = T{};
      }
    }
  }
}

inline int64_t floor_div(int64_t a, int64_t b) {
  int64_t q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}
inline int64_t floor_mod(int64_t a, int64_t b) { return a - b * floor_div(a, b); }

}  // namespace quern::ir
