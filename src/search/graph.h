// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace quern {

enum class NodeState {
  kPending,  ///< proposed, not yet judged
  kBroken,   ///< not built, not loaded
  kWrong,    ///< ran, and failed a gate
  kCorrect,
};

/// An attempt as the components of a recipe see it.
struct SearchNode {
  std::vector<int> parents;  ///< the first is the one it was made from
  std::string role;          ///< what made it: "draft", "rewrite", "repair", …
  std::string strategy;      ///< the named strategy asked for, or ""
  std::string model;
  bool large = false;  ///< a step meant to leave the neighbourhood
  int island = 0;
  NodeState state = NodeState::kPending;
  double time_ns = 0;  ///< 0 unless correct
  double low_ns = 0;   ///< 95 % interval of the time
  double high_ns = 0;
  double roofline = 0;   ///< share of what the machine allows, 0–1
  double speedup = 0;    ///< over the recipe's reference; 0 unless correct
  double score = 0;      ///< value of the node, by the recipe's score rule
  double gain = 0;       ///< value of the edge from the first parent, by the recipe's gain rule
  double ratio = 0;      ///< parent's time over its own, less 1; 0 unless both are correct
  double predicted = 0;  ///< speed over the parent's that its author expected; 0: said nothing
  std::vector<uint32_t> sketch;        ///< of its source (search/features.h)
  std::vector<int> cell;               ///< position in a feature grid, where the recipe has one
  std::vector<double> features;        ///< for clusters, where the recipe has them
  std::map<std::string, double> load;  ///< share of each resource in use, 0–1; empty: not profiled
  std::string bottleneck;              ///< class of what limits it, from its profile; "" unknown
};

/// All attempts of a search, numbered as they were proposed, with the edges between them. Node 0 is
/// the root: the task's naive lowering, correct by definition.
class SearchGraph {
 public:
  /// Returns the number of the node. Its parents must exist.
  int add(SearchNode node);
  /// To be changed until the graph is next asked for an order, in which it then has its new place.
  SearchNode& change(int id);
  const SearchNode& node(int id) const { return nodes_[static_cast<size_t>(id)]; }
  int size() const { return static_cast<int>(nodes_.size()); }

  /// The node that stands: the last one accepted, at first the root.
  int current() const { return current_; }
  void accept(int id) { current_ = id; }

  /// Time of the fastest baseline, which is what there is to beat; 0 unknown.
  double goal_ns() const { return goal_ns_; }
  void set_goal_ns(double time) { goal_ns_ = time; }

  /// Nodes whose first parent this is, in order.
  const std::vector<int>& children(int id) const { return children_[static_cast<size_t>(id)]; }
  /// The node, its first parent, …, the root.
  std::vector<int> path(int id) const;
  int depth(int id) const { return static_cast<int>(path(id).size()) - 1; }

  /// Correct nodes, best score first; of equals the earlier one first. Without the root unless it
  /// is the only one, or `with_root`.
  std::vector<int> ranked(bool with_root = false) const;
  /// The first of `ranked`.
  int best() const;
  bool correct(int id) const { return node(id).state == NodeState::kCorrect; }
  bool failed(int id) const {
    return node(id).state == NodeState::kBroken || node(id).state == NodeState::kWrong;
  }

 private:
  const std::vector<int>& ranking() const;

  std::vector<SearchNode> nodes_;
  std::vector<std::vector<int>> children_;
  mutable std::vector<int> ranking_;  ///< correct nodes with the root, best first, but for `stale_`
  mutable std::vector<int> stale_;    ///< changed since they were last given their place
  int current_ = 0;
  double goal_ns_ = 0;
};

}  // namespace quern
