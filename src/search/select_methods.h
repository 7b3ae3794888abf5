// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "search/select.h"

namespace quern {

/// How much a kernel leaves unused, by its most loaded resource: "high" below 60 %, "middle" up to
/// 80 %, "low" above (KernelSkill, arXiv 2603.10085). Without any load: "high".
const char* headroom_tier(const std::map<std::string, double>& load);

/// Strategies that a decision table allows: those that name the tier, or no tier. All where it
/// would allow none. [strategies]
std::vector<bool> allowed_methods(const std::vector<Strategy>& strategies, const char* tier);

/// A graph of methods: the nodes are strategies, the edges what may follow what. Node 0 is the
/// start, strategy i node i + 1.
class MethodGraph {
 public:
  explicit MethodGraph(const std::vector<Strategy>& strategies);
  size_t size() const { return next_.size(); }
  /// Nodes that may follow: strategies that name this one under `after`, or none at all.
  const std::vector<size_t>& next(size_t node) const { return next_[node]; }
  double value(size_t node) const { return value_[node]; }
  int visits(size_t node) const { return visits_[node]; }
  /// The mean of a node and of all on the way to it moves towards the reward.
  void reward(const std::vector<size_t>& walk, double reward);
  /// value + sqrt(2 ln visits of the one before / visits); an unvisited node comes first.
  double bound(size_t from, size_t to) const;

 private:
  std::vector<std::vector<size_t>> next_;
  std::vector<double> value_;
  std::vector<int> visits_;
};

}  // namespace quern
