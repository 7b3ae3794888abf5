// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/program.h"
#include "schedule/schedule.h"

/// How the statements of a nest group fit into one loop structure: they share leading axes, the
/// *rows*; a row is computed as a whole by one thread, statement after statement.
namespace quern {

/// The group's stored statements with inlined ones substituted into their readers.
std::vector<ir::Statement> inline_group(const ir::Program& program, const Group& group);

/// How one leading axis of a statement follows the row axis of the same position: it *is* the row
/// axis, or, with a factor, it is `row * factor + local` (channels of a normalisation group).
struct RowBinding {
  std::optional<ir::IntExpr> factor;
};

struct RowPlan {
  int rows = 0;                                   ///< number of shared leading axes
  int reference = 0;                              ///< the statement whose extents the rows have
  std::vector<std::vector<RowBinding>> bindings;  ///< per statement, per row axis
};

/// The plan with exactly `rows` shared axes, if the statements' accesses to one another stay inside
/// a row.
std::optional<RowPlan> share_rows(const std::vector<ir::Statement>& statements, int rows);

/// The plan with the most shared axes that leaves every statement its innermost axis for vectors;
/// `vector_positions[s]` is the spatial position of that axis, or -1 where it is a reduced one.
RowPlan most_rows(const std::vector<ir::Statement>& statements,
                  const std::vector<int>& vector_positions);

/// All statements have the same axes and read one another only at the same point.
bool pointwise_chain(const std::vector<ir::Statement>& statements);

/// Spatial position of the axis that wants vector lanes, or -1 for a reduced one (or none at all).
/// `forced` is a position among spatial then reduced axes, or -1.
int vector_position(const ir::Statement& statement, int forced);
/// The axis itself; null for a statement without axes.
const ir::Axis* vector_axis(const ir::Statement& statement, int forced);

/// The axis that vector lanes suit best at the tuned sizes: cheap loads, long extent. "" for none.
std::string best_lanes(const ir::Statement& statement, const ir::Sizes& sizes);

/// Whether `largest` is the maximum of a body over some axes, and `total` the sum over the same
/// axes of exp(body - largest): what one pass can compute, rescaling the sum as the maximum grows.
bool online_pair(const std::vector<ir::Statement>& statements, const std::string& largest,
                 const std::string& total);

/// Whether some index moves with the results and with the terms, as a window's does.
bool walks_windows(const ir::Statement& statement);

/// The coefficient of an axis in an index, over sizes; nothing where the index is not affine in it.
std::optional<ir::IntExpr> coefficient(const ir::IntExpr& expr, const std::string& axis);

}  // namespace quern
