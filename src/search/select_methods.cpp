// SPDX-License-Identifier: Apache-2.0
// Selectors over named methods: a decision table, and a graph of methods.
#include "search/select_methods.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "search/select_table.h"

namespace quern {

const char* headroom_tier(const std::map<std::string, double>& load) {
  double most = 0;
  for (const auto& [resource, share] : load) most = std::max(most, share);
  return most < 0.6 ? "high" : most <= 0.8 ? "middle" : "low";
}

std::vector<bool> allowed_methods(const std::vector<Strategy>& strategies, const char* tier) {
  std::vector<bool> allowed;
  for (const Strategy& strategy : strategies) {
    allowed.push_back(strategy.tiers.empty() ||
                      std::ranges::find(strategy.tiers, tier) != strategy.tiers.end());
  }
  if (std::ranges::none_of(allowed, [](bool yes) { return yes; })) {
    allowed.assign(strategies.size(), true);
  }
  return allowed;
}

MethodGraph::MethodGraph(const std::vector<Strategy>& strategies)
    : next_(strategies.size() + 1), value_(strategies.size() + 1), visits_(strategies.size() + 1) {
  for (size_t to = 0; to < strategies.size(); ++to) {
    const std::vector<std::string>& after = strategies[to].after;
    const bool first = after.empty() || std::ranges::find(after, "start") != after.end();
    if (first) next_[0].push_back(to + 1);
    for (size_t from = 0; from < strategies.size(); ++from) {
      const bool follows =
          after.empty() || std::ranges::find(after, strategies[from].name) != after.end();
      if (follows && from != to) next_[from + 1].push_back(to + 1);
    }
  }
}

void MethodGraph::reward(const std::vector<size_t>& walk, double reward) {
  for (size_t node : walk) {
    ++visits_[node];
    value_[node] += (reward - value_[node]) / visits_[node];
  }
}

double MethodGraph::bound(size_t from, size_t to) const {
  if (visits_[to] == 0) return std::numeric_limits<double>::infinity();
  return value_[to] + std::sqrt(2 * std::log(std::max(1, visits_[from])) / visits_[to]);
}

namespace {

/// The best kernel, and the methods that its profile allows for the model to choose from.
class DecisionTable : public Selector {
 public:
  explicit DecisionTable(const SelectorSettings& s) : strategies_(s.strategies) {}
  Pick pick(const SearchGraph& graph, Random&) override {
    Pick pick{{graph.best()}};
    const auto allowed =
        allowed_methods(strategies_, headroom_tier(graph.node(pick.parents[0]).load));
    for (size_t i = 0; i < allowed.size(); ++i) {
      if (allowed[i]) pick.menu.push_back(strategies_[i].name);
    }
    return pick;
  }

 private:
  std::vector<Strategy> strategies_;
};

/// Walks a graph of methods by upper confidence bounds to a method that was not tried yet, then on
/// from there by value − λ · visits; each step is one kernel.
class MethodWalk : public Selector {
 public:
  explicit MethodWalk(const SelectorSettings& s)
      : strategies_(s.strategies),
        graph_(s.strategies),
        lambda_(s.numbers.at("lambda")),
        epsilon_(s.numbers.at("epsilon")),
        depth_(static_cast<size_t>(std::max(1.0, s.numbers.at("depth")))),
        kernel_(graph_.size(), -1) {
    kernel_[0] = 0;
  }

  Pick pick(const SearchGraph& graph, Random& random) override {
    if (rolling_ && walk_.size() <= depth_ && graph.correct(kernel_of(walk_.back()))) {
      step(roll(random));
    } else {
      select();
    }
    Pick pick{{kernel_of(walk_[walk_.size() - 2])}};
    pick.strategy = strategies_[walk_.back() - 1].name;
    pick.arm = static_cast<int>(walks_.size());
    walks_.push_back(walk_);
    return pick;
  }

  void told(const SearchGraph& graph, int node, const Pick& pick) override {
    if (pick.arm < 0) return;
    const std::vector<size_t>& walk = walks_[static_cast<size_t>(pick.arm)];
    graph_.reward(walk, graph.node(node).score);
    int& kernel = kernel_[walk.back()];
    const bool better =
        graph.correct(node) && (kernel < 0 || graph.node(node).score > graph.node(kernel).score);
    if (better) kernel = node;
    rolling_ = graph.correct(node) && walk == walk_;
  }

 private:
  /// The best kernel that a method led to, or else the plain version.
  int kernel_of(size_t method) const { return std::max(0, kernel_[method]); }
  void step(size_t to) { walk_.push_back(to); }

  void select() {
    walk_ = {0};
    while (walk_.size() <= depth_) {
      const size_t at = walk_.back();
      size_t best = 0;
      double highest = -std::numeric_limits<double>::infinity();
      for (size_t to : graph_.next(at)) {
        const double bound = graph_.bound(at, to);
        if (bound > highest) highest = bound, best = to;
      }
      if (best == 0) break;
      step(best);
      if (graph_.visits(best) == 0) break;
    }
    if (walk_.size() == 1) step(1);  // a graph without a beginning
  }

  size_t roll(Random& random) const {
    const std::vector<size_t>& options = graph_.next(walk_.back());
    if (options.empty()) return walk_.back();
    if (random.chance(epsilon_)) return options[random.below(options.size())];
    return *std::ranges::max_element(
        options, {}, [&](size_t to) { return graph_.value(to) - lambda_ * graph_.visits(to); });
  }

  std::vector<Strategy> strategies_;
  MethodGraph graph_;
  double lambda_, epsilon_;
  size_t depth_;
  std::vector<int> kernel_;  ///< best one by method; -1: none
  std::vector<size_t> walk_ = {0};
  std::vector<std::vector<size_t>> walks_;  ///< by arm
  bool rolling_ = false;
};

}  // namespace

std::vector<SelectorInfo> method_selectors() {
  return {
      {"decision-table",
       "the best kernel, with the strategies whose tiers name its headroom (high below 60 % of the "
       "most loaded resource, middle up to 80 %, low) for the model to choose from",
       "KernelSkill, arXiv 2603.10085",
       {},
       made_of_strategies<DecisionTable>},
      {"method-graph",
       "down a graph of strategies by Q + sqrt(2 ln N_from / N_to) to one that was not tried, then "
       "on by Q - lambda N, or any with probability epsilon; each on the best kernel of the "
       "strategy before",
       "ReGraphT, arXiv 2510.19873",
       {{"lambda", 0.1, "how much a visit costs in a rollout"},
        {"epsilon", 0.1, "share of random steps in a rollout"},
        {"depth", 4, "methods in a walk"}},
       made_of_strategies<MethodWalk>},
  };
}

}  // namespace quern
