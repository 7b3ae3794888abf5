// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <vector>

#include "search/graph.h"

namespace quern {

/// One lineage: the descendants of one child of the root.
struct Lineage {
  std::vector<int> nodes;  ///< correct ones, best first
  int attempts = 0;        ///< all of them, failed ones included
};
std::vector<Lineage> lineages(const SearchGraph& graph);

/// How much less a lineage was worked on than it deserves:
/// deserved share / (actual share + 1 / attempts of all). [lineages]
std::vector<double> lineage_deficits(const std::vector<double>& deserved,
                                     const std::vector<int>& attempts);

/// The correct node with the best score of each cell of a feature grid that is taken; nodes without
/// a cell share one. Best first.
std::vector<int> cell_elites(const SearchGraph& graph);

/// What a cell promises: 0.4 · (its elite's score against the mean of all elites) + 0.4 · share of
/// its tries that improved it + 0.2 / (1 + its tries). [elites, as `cell_elites` gives them]
std::vector<double> cell_promise(const SearchGraph& graph, const std::vector<int>& elites);

/// Nodes that islands gave to their neighbours in a ring. What came from elsewhere is not passed
/// on, and what an island has already, source for source, is not taken in.
class Migration {
 public:
  /// The best `rate` of each island's own correct nodes, one at least, become visible in the next.
  void migrate(const SearchGraph& graph, int islands, double rate);
  bool visits(int node, int island) const;

 private:
  std::map<int, std::set<int>> guests_;  ///< by island
};

}  // namespace quern
