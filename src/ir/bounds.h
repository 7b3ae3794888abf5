// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ir/program.h"

namespace quern::ir {

/// All values an integer expression can take: [low, high], both included. Ends at the limits of
/// int64 mean "unknown".
struct Range {
  int64_t low = 0;
  int64_t high = 0;
};

/// Ranges of index expressions at concrete sizes over the domain of one statement, narrowed by the
/// guards that hold where the index is evaluated. Sound but not complete: a range may be wider
/// than the truth when an expression uses division or products of axes.
class Bounds {
 public:
  Bounds(const Program& program, const Sizes& sizes, const Statement& statement);

  /// Adds what a comparison of integers says (`truth`: whether it holds). Other conditions and
  /// `or` say nothing; `and` says both. Returns a mark to give to `pop_to`.
  size_t push(const Expr& condition, bool truth);
  void pop_to(size_t mark) { guards_.resize(mark); }

  Range range(const IntExpr& expr) const;

 private:
  /// constant + sum of factor * atom, where an atom is an axis or a non-linear term by its text.
  struct Linear {
    int64_t constant = 0;
    std::map<std::string, std::pair<int64_t, Range>> terms;
  };
  Linear linear(const IntExpr& expr) const;
  Linear quotient(const IntExpr& expr) const;
  Linear remainder(const IntExpr& expr) const;
  Linear atom(const IntExpr& expr, Range range) const;
  Range gathered(const std::string& tensor) const;
  Range narrowed(const Linear& form) const;
  void push_guard(Linear form) { guards_.push_back(std::move(form)); }
  static Linear combined(const Linear& a, const Linear& b, int64_t sign);
  static Linear scaled(const Linear& a, int64_t factor);
  static Range plain(const Linear& form);

  const Program& program_;
  const Sizes& sizes_;
  std::map<std::string, Range> axes_;
  std::vector<Linear> guards_;  ///< each is known to be at least 0
};

}  // namespace quern::ir
