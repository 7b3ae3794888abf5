// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/program.h"

/// Reductions over windows (pooling) as two: down the window into a row, then along that row.
namespace quern {

struct SplitWindow {
  ir::Program program;  ///< the given one, with the row of partial results as a tensor
  std::vector<ir::Statement> statements;  ///< the partial reduction, then the given ones
  /// The row holds each partial result combined with the one before it, which the loop over the
  /// row must do: half as many are then left to combine along the row.
  bool pairs = false;
  int64_t step = 1;    ///< elements of the row from window to window
  bool apart = false;  ///< windows below one another share no element
};

/// Splits the first of `statements`, where it reduces plain loads over two or more axes of which
/// one slides along the tensor's last dimension together with the last spatial axis, and windows
/// leave no gaps. The same terms are combined in another order. Each element of the row serves all
/// windows over it, and its loads have unit stride whatever the windows' step. Nothing otherwise.
std::optional<SplitWindow> split_window(const ir::Program& program,
                                        const std::vector<ir::Statement>& statements);

}  // namespace quern
