// SPDX-License-Identifier: Apache-2.0
// Selectors that walk the tree of attempts.
#include "search/select_tree.h"

#include <algorithm>
#include <cmath>

#include "search/select_table.h"

namespace quern {

std::vector<SubtreeStatistics> subtree_statistics(const SearchGraph& graph) {
  std::vector<SubtreeStatistics> all(static_cast<size_t>(graph.size()));
  for (int id = graph.size(); id-- > 0;) {  // children come after their parents
    const SearchNode& node = graph.node(id);
    SubtreeStatistics& mine = all[static_cast<size_t>(id)];
    if (node.state != NodeState::kPending) {
      mine.max = mine.count == 0 ? node.score : std::max(mine.max, node.score);
      mine.sum += node.score;
      ++mine.count;
    }
    if (node.parents.empty() || mine.count == 0) continue;
    SubtreeStatistics& above = all[static_cast<size_t>(node.parents.front())];
    above.max = above.count == 0 ? mine.max : std::max(above.max, mine.max);
    above.sum += mine.sum;
    above.count += mine.count;
  }
  return all;
}

double upper_bound(double value, double c, int parent_visits, int visits) {
  return value + c * std::sqrt(std::log(std::max(1, parent_visits)) / std::max(1, visits));
}

double expand_bound(double best_child, double c, int visits, int children) {
  const double squared = static_cast<double>(children) * children;
  return best_child + c * std::sqrt(std::log(std::max(1, visits)) / std::max(1.0, squared));
}

std::vector<bool> expandable(const SearchGraph& graph, int root_children, int failing_children) {
  std::vector<bool> open(static_cast<size_t>(graph.size()));
  std::vector<bool> pruned(open.size());
  for (int id = 0; id < graph.size(); ++id) {
    const auto at = static_cast<size_t>(id);
    const std::vector<int>& children = graph.children(id);
    const bool all_failed = static_cast<int>(children.size()) > failing_children &&
                            std::ranges::all_of(children, [&](int c) { return graph.failed(c); });
    const SearchNode& node = graph.node(id);
    const bool above = !node.parents.empty() && pruned[static_cast<size_t>(node.parents.front())];
    pruned[at] = above || (id > 0 && all_failed);
    const bool throttled = id == 0 && static_cast<int>(children.size()) >= root_children;
    open[at] = !pruned[at] && !throttled && node.state != NodeState::kPending;
  }
  return open;
}

namespace {

/// With probability epsilon any expandable leaf, else the best expandable node.
class EpsilonTree : public Selector {
 public:
  explicit EpsilonTree(const SelectorSettings& s)
      : epsilon_(s.numbers.at("epsilon")),
        root_children_(static_cast<int>(s.numbers.at("root_children"))),
        failing_children_(static_cast<int>(s.numbers.at("failing_children"))) {}

  Pick pick(const SearchGraph& graph, Random& random) override {
    const std::vector<bool> open = expandable(graph, root_children_, failing_children_);
    std::vector<int> leaves;
    int best = -1;
    for (int id = 0; id < graph.size(); ++id) {
      if (!open[static_cast<size_t>(id)]) continue;
      if (graph.children(id).empty()) leaves.push_back(id);
      if (graph.correct(id) && (best < 0 || graph.node(id).score > graph.node(best).score)) {
        best = id;
      }
    }
    const bool explore = random.chance(epsilon_);
    if (!leaves.empty() && (explore || best < 0)) return {{leaves[random.below(leaves.size())]}};
    return {{best >= 0 ? best : graph.best()}};
  }

 private:
  double epsilon_;
  int root_children_, failing_children_;
};

/// Down from the root by upper confidence bounds to a node with fewer than `width` children.
class Uct : public Selector {
 public:
  explicit Uct(const SelectorSettings& s)
      : c_(s.numbers.at("c")),
        alpha_(s.numbers.at("alpha")),
        width_(static_cast<int>(s.numbers.at("width"))) {}

  Pick pick(const SearchGraph& graph, Random&) override {
    const auto statistics = subtree_statistics(graph);
    int at = 0;
    while (static_cast<int>(graph.children(at).size()) >= width_) {
      const int visits = statistics[static_cast<size_t>(at)].count;
      int next = -1;
      double highest = 0;
      for (int child : graph.children(at)) {
        const SubtreeStatistics& s = statistics[static_cast<size_t>(child)];
        if (s.count == 0) continue;  // pending
        const double bound = upper_bound(s.blended(alpha_), c_, visits, s.count);
        if (next < 0 || bound > highest) next = child, highest = bound;
      }
      if (next < 0) break;
      at = next;
    }
    return {{at}};
  }

 private:
  double c_, alpha_;
  int width_;
};

/// UCT in which every node has one arm more: to be expanded itself.
class ExpandArm : public Selector {
 public:
  explicit ExpandArm(const SelectorSettings& s)
      : c_(s.numbers.at("c")),
        expand_c_(s.numbers.at("expand_c")),
        alpha_(s.numbers.at("alpha")),
        large_share_(s.numbers.at("large_share")),
        small_children_(static_cast<int>(s.numbers.at("small_children"))) {}

  Pick pick(const SearchGraph& graph, Random& random) override {
    const auto statistics = subtree_statistics(graph);
    int at = 0;
    for (;;) {
      const int visits = statistics[static_cast<size_t>(at)].count;
      int next = -1, children = 0;
      double highest = 0, best_child = 0;
      for (int child : graph.children(at)) {
        const SubtreeStatistics& s = statistics[static_cast<size_t>(child)];
        ++children;
        if (s.count == 0) continue;  // pending
        const double value = s.blended(alpha_);
        const double bound = upper_bound(value, c_, visits, s.count);
        best_child = next < 0 ? value : std::max(best_child, value);
        if (next < 0 || bound > highest) next = child, highest = bound;
      }
      if (next < 0 || expand_bound(best_child, expand_c_, visits, children) > highest) break;
      at = next;
    }
    return expand(graph, at, random);
  }

 private:
  Pick expand(const SearchGraph& graph, int at, Random& random) const {
    int small = 0;
    for (int child : graph.children(at)) small += graph.node(child).large ? 0 : 1;
    const bool chance = random.chance(large_share_);
    Pick pick{{at}};
    pick.large = at == 0 || small >= small_children_ || chance;
    // A large step starts a sibling, not a child.
    if (pick.large && at != 0) pick.parents = {graph.node(at).parents.front()};
    return pick;
  }

  double c_, expand_c_, alpha_, large_share_;
  int small_children_;
};

}  // namespace

std::vector<SelectorInfo> tree_selectors() {
  return {
      {"epsilon-tree",
       "with probability epsilon any expandable leaf, else the best expandable node; the root is "
       "closed at `root_children`, a branch once more than `failing_children` children all failed",
       "STARK, arXiv 2510.16996",
       {{"epsilon", 0.3, "share of exploring picks"},
        {"root_children", 5, "children of the root"},
        {"failing_children", 3, "failing children before a branch is pruned"}},
       made<EpsilonTree>},
      {"uct",
       "down the tree by alpha max + (1 - alpha) mean + c sqrt(ln N_parent / N) to a node with "
       "fewer than `width` children",
       "ReGraphT arXiv 2510.19873, KernelEvolve arXiv 2512.23236",
       {{"c", 1.4142135623730951, "weight of what is little known"},
        {"alpha", 0, "0: the mean of a subtree, 1: its best"},
        {"width", 3, "children of a node before the walk goes past it"}},
       made<Uct>},
      {"expand-arm",
       "down the tree by alpha max + (1 - alpha) mean + c sqrt(ln N_parent / N), until the arm "
       "`expand`, best child + expand_c sqrt(ln N / children^2), beats every child",
       "AdaExplore, arXiv 2604.16625",
       {{"c", 0.3, "weight of what is little known"},
        {"expand_c", 0.3, "the same for expanding"},
        {"alpha", 0, "0: the mean of a subtree, 1: its best"},
        {"large_share", 0.2, "probability of a large step"},
        {"small_children", 2, "small steps from a node before a large one"}},
       made<ExpandArm>},
  };
}

}  // namespace quern
