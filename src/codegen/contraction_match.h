// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "ir/program.h"

/// Recognition of contractions, on the structure of a statement alone: names of tasks, tensors and
/// operators play no part.
namespace quern {

/// `(offset expression) in [0, extent)`: the operand is 0 elsewhere. No extent: bounded below only.
struct GuardExpr {
  ir::IntExpr coordinate;
  std::optional<ir::IntExpr> extent;
};

/// One factor of the product: `expr` where all conditions hold, 0 elsewhere.
struct Operand {
  ir::Expr expr;
  std::vector<ir::Expr> conditions;
};

/// A loop over residues that makes a divisibility condition independent of output positions: output
/// axis `axis` runs over `stride * axis' + phase`, for every phase in [0, stride).
struct PhaseLoop {
  std::string phase;  ///< stands in expressions as a size of this name
  std::string axis;
  ir::IntExpr stride;
};

/// out[out_indices] = post * sum over k of a[batch, m, k] * b[batch, n, k]. Output axes read by
/// both factors are batch axes; `n` holds the last output axis unless that is a batch axis.
struct Contraction {
  std::vector<ir::Axis> batch, m, n, k;
  Operand a, b;
  ir::Expr post;                         ///< over output axes only; constant 1 where absent
  std::vector<std::string> out_axes;     ///< the statement's own axes …
  std::vector<ir::IntExpr> out_indices;  ///< … over `batch`, `m` and `n`
  std::vector<PhaseLoop> phases;
  std::vector<ir::Expr> k_filters;   ///< conditions on k alone: terms to leave out
  std::vector<ir::IntExpr> divides;  ///< each must be 0 for the match to hold
};

/// The contraction that `statement` (with producers already inlined) computes, or nothing.
/// `phase_split` removes divisibility conditions of transposed windows by phase loops.
std::optional<Contraction> match_contraction(const ir::Program& program,
                                             const ir::Statement& statement,
                                             bool phase_split = true);

/// Parts of an index: [0] sizes and batch axes, [1] axes of the operand's own dimension, [2] k.
using Parts = std::array<ir::IntExpr, 3>;

/// Splits `index` into a sum of three parts, or nothing where it does not separate. Slots by axis
/// name: `own` is slot 1, `k` slot 2, all others slot 0.
std::optional<Parts> separate(const ir::IntExpr& index, const std::vector<ir::Axis>& own,
                              const std::vector<ir::Axis>& k);

/// A condition as coordinates that must not be negative; nothing where it has no such form.
std::optional<std::vector<ir::IntExpr>> nonnegative_form(const ir::Expr& condition);

/// `term` divided by `d` where it is a visible multiple of it.
std::optional<ir::IntExpr> divide_exactly(const ir::IntExpr& term, const ir::IntExpr& d);

bool has_axis(const std::vector<ir::Axis>& axes, const std::string& name);

/// An expression of index values as an integer expression, where it is one.
std::optional<ir::IntExpr> as_int(const ir::Expr& expr);

}  // namespace quern
