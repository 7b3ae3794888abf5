// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "search/graph.h"
#include "search/hypothesis.h"

namespace quern {

/// Applies a model's edits of a tree: the JSON list in its reply, of objects
///     {"parent": 0, "title": "…", "score": 0.7, "difficulty": 2}      a new action, at most three
///     {"id": 3, "score": 0.4, "rating": 6}                            other numbers for an open
///     one
///     {"op": "delete", "id": 3}                                       not worth trying
/// What makes no sense is passed over. Returns how many were applied.
int apply_tree_edits(HypothesisTree& tree, const std::string& reply);

/// The tree as text, a line for each hypothesis, 6000 characters at most.
std::string describe(const HypothesisTree& tree, const SearchGraph& graph);

/// Attempts at one action.
struct ActionProgress {
  int patience = 5;
  int last = -1;  ///< node judged last
  int best = -1;  ///< best correct one
  int without_gain = 0;
  int unable = 0;  ///< attempts in a row while none beats the base

  /// Takes in a judged node. True: enough of this action.
  bool took(const SearchGraph& graph, int node, int base);
};

}  // namespace quern
