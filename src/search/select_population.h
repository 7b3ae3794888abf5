// SPDX-License-Identifier: Apache-2.0
#pragma once

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

}  // namespace quern
