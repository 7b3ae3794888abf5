// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/program.h"
#include "schedule/rows.h"

/// The inside of a row: statements with their axes renamed to loops, gathered into stages. A stage
/// is one loop nest; everything in it happens at the same point.
namespace quern {

/// A loop of a row. Extents are over sizes and row axes; `limit` is a second upper bound.
struct Loop {
  std::string name;  ///< axis name, unique in the row by position
  ir::IntExpr extent;
  std::optional<ir::IntExpr> limit;
  std::string begin = "int64_t{0}";  ///< C++
  std::string end;                   ///< C++; empty: extent
  bool operator==(const Loop&) const = default;
};

/// A statement seen from inside a row.
struct Item {
  ir::Statement statement;  ///< body over row axes ("0", "1", …) and loop names
  std::vector<Loop> space;  ///< remaining spatial axes
  std::vector<Loop> reduce;
  int scan = -1;  ///< position of the scanned axis in `space`
  std::vector<ir::IntExpr>
      store;              ///< indices of the stored element in the tensor; last may be flat
  std::string lane;       ///< name of the loop in vector lanes; "" for a row scalar
  bool guarding = false;  ///< see has_guarding_select

  bool lane_is_spatial() const;
  std::vector<Loop> loops() const;  ///< space, then reduce
};

/// One loop nest. Members run at each point of `space` × `reduce`; tails at each point of `space`
/// once the reductions among the members are done.
struct Stage {
  std::vector<Loop> space;
  std::vector<Loop> reduce;
  std::string lane;
  bool lane_is_spatial = false;
  std::vector<int> members;
  std::vector<int> tails;
};

/// Renames the axes of a group's statements to rows and loops; joins adjacent loops where
/// `flatten`.
std::vector<Item> make_items(const ir::Program& program,
                             const std::vector<ir::Statement>& statements, const RowPlan& plan,
                             const std::vector<const ir::Axis*>& lanes, bool flatten);

/// Greedy: a statement joins the stage before it where it runs at the same points and reads that
/// stage's statements only there.
std::vector<Stage> make_stages(const std::vector<Item>& items);

}  // namespace quern
