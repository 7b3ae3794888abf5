// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "codegen/stage.h"
#include "ir/program.h"

/// Padding of a window as shorter loops: points outside the tensor are left out, not asked about.
namespace quern {

/// The part of a loop whose points lie inside the tensor, as C++; never outside [0, extent].
struct LoopClip {
  std::string begin, end;
};

/// By loop, where `item` reduces a load that outside its tensor gives what the reduction starts
/// from, and each index moves with one loop at most. Row axis r has the extent `rows[r]`. Nothing
/// where that does not hold.
std::optional<std::map<std::string, LoopClip>> clip_window(const ir::Program& program,
                                                           const Item& item,
                                                           const std::vector<ir::IntExpr>& rows);

}  // namespace quern
