// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace quern {

enum class HypothesisState { kOpen, kSolved, kTooHard };

/// A decision that may be worth taking, in a tree of decisions.
struct Hypothesis {
  int parent = -1;
  std::string title;
  double score = 0.5;       ///< what it promises, 0–1
  int difficulty = 3;       ///< 1–5
  double rating = 5;        ///< of the whole branch, 0–10
  double confidence = 0.5;  ///< in the score, 0–1
  HypothesisState state = HypothesisState::kOpen;
  int solution = -1;  ///< node of the search graph, once solved
};

/// An explicit model of what could be done (K-Search, arXiv 2602.19128): a language model edits the
/// tree, code decides what is next.
class HypothesisTree {
 public:
  /// The root is solved by node 0 of the graph.
  HypothesisTree();

  int add(Hypothesis hypothesis);
  int size() const { return static_cast<int>(nodes_.size()); }
  Hypothesis& node(int id) { return nodes_[static_cast<size_t>(id)]; }
  const Hypothesis& node(int id) const { return nodes_[static_cast<size_t>(id)]; }
  int depth(int id) const;

  /// Open hypotheses whose parent is solved, in the order in which they are tried: score down,
  /// difficulty up, rating down, age. Those above `max_difficulty` come only when nothing else is
  /// left, or once `best_share` (best speed over the baseline's) reaches a half.
  std::vector<int> frontier(double best_share, int max_difficulty = 4) const;
  /// The same by 3 · score − 2.5 · difficulty/5 + 0.75 / (1 + depth) + 1.5 · parent's score +
  /// 0.5 · rating/10 + 0.25 · confidence + 0.15 where the parent is the root.
  std::vector<int> weighted_frontier() const;

 private:
  std::vector<int> open() const;
  std::vector<Hypothesis> nodes_;
};

}  // namespace quern
