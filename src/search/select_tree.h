// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "search/graph.h"

namespace quern {

/// Judged nodes of a subtree, with their scores.
struct SubtreeStatistics {
  int count = 0;
  double sum = 0;
  double max = 0;
  /// alpha · max + (1 − alpha) · mean
  double blended(double alpha) const {
    return count == 0 ? 0 : alpha * max + (1 - alpha) * sum / count;
  }
};

/// Of every node's subtree, itself included. [nodes]
std::vector<SubtreeStatistics> subtree_statistics(const SearchGraph& graph);

/// value + c · sqrt(ln(visits of the parent) / visits)
double upper_bound(double value, double c, int parent_visits, int visits);
/// The virtual arm "expand this node": value of its best child + c · sqrt(ln N / children²).
double expand_bound(double best_child, double c, int visits, int children);

/// Whether a node may get another child: the root below `root_children` of them; no node that has
/// more than `failing_children` which all failed, nor any below it.
std::vector<bool> expandable(const SearchGraph& graph, int root_children, int failing_children);

}  // namespace quern
