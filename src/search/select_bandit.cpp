// SPDX-License-Identifier: Apache-2.0
// Selectors that learn which strategy, cluster or node pays.
#include "search/select_bandit.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "search/select_table.h"

namespace quern {

double BanditArms::bound(size_t arm, double c, double round) const {
  return mean_[arm] + c * std::sqrt(std::log(std::max(1.0, round)) / pulls_[arm]);
}

size_t BanditArms::best(double c, double round, const std::vector<bool>& allowed) const {
  size_t best = size();
  for (size_t arm = 0; arm < size(); ++arm) {
    if (!allowed[arm]) continue;
    if (best == size() || bound(arm, c, round) > bound(best, c, round)) best = arm;
  }
  QUERN_CHECK(best < size(), "no arm is allowed");
  return best;
}

void BanditArms::reward(size_t arm, double value) {
  pulls_[arm] += 1;
  mean_[arm] += (value - mean_[arm]) / pulls_[arm];
}

std::vector<bool> strategy_mask(const std::vector<Strategy>& strategies,
                                const std::map<std::string, double>& load,
                                const std::map<std::string, double>& limits) {
  std::vector<bool> allowed(strategies.size(), true);
  size_t least = 0;
  double room = -std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < strategies.size(); ++i) {
    const auto used = load.find(strategies[i].target);
    const auto limit = limits.find(strategies[i].target);
    if (used == load.end() || limit == limits.end()) continue;
    allowed[i] = used->second < limit->second;
    if (limit->second - used->second > room) room = limit->second - used->second, least = i;
  }
  if (std::ranges::none_of(allowed, [](bool yes) { return yes; })) allowed[least] = true;
  return allowed;
}

double rank_bound(int rank, int n, int total, int visits, double c) {
  const double quality = n > 1 ? static_cast<double>(n - rank) / (n - 1) : 1;
  return quality + c * std::sqrt(std::log(total + 1.0) / (visits + 1.0));
}

double TechniqueValue::score() const {
  return predicted * confidence - std::min(0.1 * uses, 0.5) + 0.1 * composite;
}

namespace {

using Points = std::vector<std::vector<double>>;

double squared_distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

/// Each feature with mean 0 and deviation 1; a constant one becomes 0.
void standardise(Points& points) {
  const size_t n = points.size();
  for (size_t f = 0; n > 0 && f < points.front().size(); ++f) {
    double mean = 0, square = 0;
    for (const auto& point : points) mean += point[f] / static_cast<double>(n);
    for (const auto& point : points) square += (point[f] - mean) * (point[f] - mean);
    const double deviation = std::sqrt(square / static_cast<double>(n));
    for (auto& point : points) point[f] = deviation > 0 ? (point[f] - mean) / deviation : 0;
  }
}

size_t nearest_centre(const std::vector<double>& point, const Points& centres) {
  size_t best = 0;
  for (size_t c = 1; c < centres.size(); ++c) {
    if (squared_distance(point, centres[c]) < squared_distance(point, centres[best])) best = c;
  }
  return best;
}

/// Centres far from each other: each drawn in proportion to its squared distance from the others.
Points seed_centres(const Points& points, size_t clusters, Random& random) {
  Points centres = {points[random.below(points.size())]};
  while (centres.size() < clusters) {
    std::vector<double> distance;
    for (const auto& point : points) {
      distance.push_back(squared_distance(point, centres[nearest_centre(point, centres)]));
    }
    if (std::ranges::all_of(distance, [](double d) { return d == 0; })) break;
    centres.push_back(points[random.weighted(distance)]);
  }
  return centres;
}

}  // namespace

std::vector<int> k_means(Points points, size_t clusters, Random& random) {
  std::vector<int> cluster(points.size(), 0);
  if (points.empty()) return cluster;
  standardise(points);
  Points centres = seed_centres(points, clusters, random);
  constexpr int kRounds = 50;
  for (int round = 0; round < kRounds; ++round) {
    bool moved = false;
    for (size_t i = 0; i < points.size(); ++i) {
      const int now = static_cast<int>(nearest_centre(points[i], centres));
      moved = moved || now != cluster[i];
      cluster[i] = now;
    }
    if (!moved && round > 0) break;
    for (size_t c = 0; c < centres.size(); ++c) {
      std::vector<double> sum(points.front().size());
      double members = 0;
      for (size_t i = 0; i < points.size(); ++i) {
        if (cluster[i] != static_cast<int>(c)) continue;
        ++members;
        for (size_t f = 0; f < sum.size(); ++f) sum[f] += points[i][f];
      }
      for (size_t f = 0; members > 0 && f < sum.size(); ++f) centres[c][f] = sum[f] / members;
    }
  }
  return cluster;
}

namespace {

/// Arms are pairs of a cluster of kernels and a strategy, masked by what the hardware has left.
class ClusterBandit : public Selector {
 public:
  explicit ClusterBandit(const SelectorSettings& s)
      : settings_(s),
        clusters_(static_cast<size_t>(std::max(1.0, s.numbers.at("clusters")))),
        arms_(clusters_ * s.strategies.size(), 0.5, 1) {}

  Pick pick(const SearchGraph& graph, Random& random) override {
    regroup(graph, random);
    const size_t strategies = settings_.strategies.size();
    std::vector<bool> allowed(arms_.size(), false);
    for (size_t c = 0; c < clusters_; ++c) {
      const std::vector<int> members = members_of(graph, c);
      if (members.empty()) continue;
      const auto mask = strategy_mask(
          settings_.strategies, graph.node(representative(graph, members)).load, settings_.limits);
      std::copy(mask.begin(), mask.end(), allowed.begin() + static_cast<long>(c * strategies));
    }
    const size_t arm = arms_.best(settings_.numbers.at("c"), ++rounds_, allowed);
    const Strategy& strategy = settings_.strategies[arm % strategies];
    Pick pick{{draw_member(graph, members_of(graph, arm / strategies), strategy, random)}};
    pick.strategy = strategy.name;
    pick.arm = static_cast<int>(arm);
    return pick;
  }

  void told(const SearchGraph& graph, int node, const Pick& pick) override {
    if (pick.arm >= 0) arms_.reward(static_cast<size_t>(pick.arm), graph.node(node).gain);
  }

 private:
  /// Correct kernels are grouped anew every `regroup` rounds, once there are two for each cluster.
  void regroup(const SearchGraph& graph, Random& random) {
    const int every = std::max(1, static_cast<int>(settings_.numbers.at("regroup")));
    const std::vector<int> known = graph.ranked(true);
    if (known.size() < 2 * clusters_ || rounds_ % every != 0) return;
    Points points;
    for (int id : known) points.push_back(graph.node(id).features);
    const size_t dimensions = points.front().size();
    if (std::ranges::any_of(points, [&](const auto& p) { return p.size() != dimensions; })) return;
    const std::vector<int> cluster = k_means(std::move(points), clusters_, random);
    cluster_.clear();
    for (size_t i = 0; i < known.size(); ++i) cluster_[known[i]] = cluster[i];
  }

  /// A kernel since the last grouping belongs where its parent does.
  size_t cluster_of(const SearchGraph& graph, int id) const {
    for (int at : graph.path(id)) {
      if (auto found = cluster_.find(at); found != cluster_.end()) {
        return static_cast<size_t>(found->second);
      }
    }
    return 0;
  }

  std::vector<int> members_of(const SearchGraph& graph, size_t cluster) const {
    std::vector<int> members = graph.ranked(true);
    std::erase_if(members, [&](int id) { return cluster_of(graph, id) != cluster; });
    return members;
  }

  /// The best profiled member, or the best.
  static int representative(const SearchGraph& graph, const std::vector<int>& members) {
    for (int id : members) {
      if (!graph.node(id).load.empty()) return id;
    }
    return members.front();
  }

  /// In proportion to exp((limit − load) / T) of the strategy's resource.
  int draw_member(const SearchGraph& graph, const std::vector<int>& members,
                  const Strategy& strategy, Random& random) const {
    const auto limit = settings_.limits.find(strategy.target);
    std::vector<double> room;
    for (int id : members) {
      const auto& load = graph.node(id).load;
      const auto used = load.find(strategy.target);
      const bool known = limit != settings_.limits.end() && used != load.end();
      room.push_back(known ? limit->second - used->second : 0);
    }
    return members[random.weighted(softmax(room, settings_.numbers.at("temperature")))];
  }

  SelectorSettings settings_;
  size_t clusters_;
  BanditArms arms_;
  std::map<int, int> cluster_;
  int rounds_ = 0;
};

/// Upper confidence bounds on ranks, with a little noise.
class RankUcb : public Selector {
 public:
  explicit RankUcb(const SelectorSettings& s)
      : c_(s.numbers.at("c")), noise_(s.numbers.at("noise")) {}

  Pick pick(const SearchGraph& graph, Random& random) override {
    const std::vector<int> ranked = graph.ranked();
    const int n = static_cast<int>(ranked.size());
    int best = ranked.front();
    double highest = -std::numeric_limits<double>::infinity();
    for (int i = 0; i < n; ++i) {
      const int id = ranked[static_cast<size_t>(i)];
      const double value =
          rank_bound(i + 1, n, picks_, visits_[id], c_) + noise_ * (2 * random.unit() - 1);
      if (value > highest) highest = value, best = id;
    }
    ++picks_;
    ++visits_[best];
    return {{best}};
  }

 private:
  double c_, noise_;
  std::map<int, int> visits_;
  int picks_ = 0;
};

/// A softmax over what is known of each technique under the best kernel's kind of bottleneck.
class TechniqueSoftmax : public Selector {
 public:
  explicit TechniqueSoftmax(const SelectorSettings& s) : settings_(s) {}

  Pick pick(const SearchGraph& graph, Random& random) override {
    const int base = graph.best();
    std::vector<double> scores;
    for (const TechniqueValue& value : values(graph.node(base).bottleneck)) {
      scores.push_back(value.score());
    }
    const size_t chosen = random.weighted(softmax(scores, settings_.numbers.at("temperature")));
    Pick pick{{base}};
    pick.strategy = settings_.strategies[chosen].name;
    pick.arm = static_cast<int>(chosen);
    return pick;
  }

  void told(const SearchGraph& graph, int node, const Pick& pick) override {
    if (pick.arm < 0) return;
    auto& value =
        values(graph.node(pick.parents.front()).bottleneck)[static_cast<size_t>(pick.arm)];
    ++value.uses;
    value.composite += (graph.node(node).gain - value.composite) / value.uses;
    value.predicted = value.composite;
  }

 private:
  /// A kind of bottleneck met for the first time inherits from the one met before it, discounted.
  std::vector<TechniqueValue>& values(const std::string& bottleneck) {
    if (auto found = known_.find(bottleneck); found != known_.end()) return found->second;
    std::vector<TechniqueValue> fresh(settings_.strategies.size());
    if (auto before = known_.find(latest_); before != known_.end()) {
      fresh = before->second;
      for (TechniqueValue& value : fresh) {
        value.predicted *= settings_.numbers.at("inherit");
        value.uses = 0;
      }
    }
    latest_ = bottleneck;
    return known_[bottleneck] = fresh;
  }

  SelectorSettings settings_;
  std::map<std::string, std::vector<TechniqueValue>> known_;
  std::string latest_;
};

}  // namespace

std::vector<SelectorInfo> bandit_selectors() {
  return {
      {"cluster-bandit",
       "the pair of a cluster of kernels and a strategy with the highest mean + c sqrt(ln t / N), "
       "among strategies whose resource is loaded below its limit; in the cluster, a kernel drawn "
       "in proportion to exp((limit - load) / T)",
       "KernelBand, arXiv 2511.18868",
       {{"clusters", 3, "groups of kernels"},
        {"regroup", 10, "rounds between two groupings"},
        {"c", 2, "weight of what is little known"},
        {"temperature", 1, "of the draw inside a cluster"}},
       made_of_strategies<ClusterBandit>},
      {"rank-ucb",
       "the node with the highest (n - rank) / (n - 1) + c sqrt(ln(N + 1) / (n_i + 1)), give or "
       "take `noise`",
       "AKG, arXiv 2512.23424",
       {{"c", 1.414, "weight of what is little known"}, {"noise", 0.1, "uniform, either side"}},
       made<RankUcb>},
      {"technique-softmax",
       "on the best kernel, a strategy by a softmax over predicted * confidence - "
       "min(0.1 uses, 0.5) + 0.1 * mean gain under the same bottleneck",
       "KernelBlaster, arXiv 2602.14293",
       {{"temperature", 0.5, "of the softmax"},
        {"inherit", 0.8, "share of a prediction that a new kind of bottleneck inherits"}},
       made_of_strategies<TechniqueSoftmax>},
  };
}

}  // namespace quern
