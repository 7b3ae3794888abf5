// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "codegen/contraction_match.h"
#include "codegen/contraction_tables.h"
#include "ir/program.h"

namespace quern {

/// A scalar expression as C++ over `t_`, `s_` and `a_` names, in f32; conditions give a bool.
std::string scalar_text(const ir::Program& program, const ir::Expr& expr);

/// The pointwise statements after a contraction, printed over one vector of its results: lanes are
/// consecutive positions of N. Generated code has `q_w` (lanes alive), `q_b`, `q_m`, `q_n` (the
/// position) and `q_v` (the sum).
class TileExpr {
 public:
  TileExpr(const ir::Program& program, const Contraction& contraction, Tables& tables)
      : program_(program), c_(contraction), tables_(tables) {}

  std::string define_root(const ir::Statement& root);
  /// `const qv q_x_<name> = …;`. Error: the statement is not pointwise in those before it.
  Result<std::string> define(const ir::Statement& statement);
  Result<std::string> store(const ir::Statement& statement);
  /// Declarations that hold for a whole row: where each tensor's row begins.
  const std::string& row_lines() const { return row_lines_; }

 private:
  std::string row_pointer(const std::string& tensor, const Parts& parts, bool stored);
  Result<std::string> vector_text(const ir::Expr& expr);
  bool guards_loads(const ir::Expr& select) const;
  Result<std::string> load_text(const ir::Expr& expr);
  std::string by_lane(const ir::Expr& expr);
  Result<std::vector<ir::IntExpr>> positions(const ir::Statement& statement) const;

  const ir::Program& program_;
  const Contraction& c_;
  Tables& tables_;
  /// Index expressions, over batch, m and n, at which each defined tensor is being computed.
  std::map<std::string, std::vector<ir::IntExpr>> defined_;
  std::string row_lines_;
  int rows_ = 0;
};

}  // namespace quern
