// SPDX-License-Identifier: Apache-2.0
// Selectors over populations: mixtures, tournaments, islands, lineages, cells.
#include "search/select_population.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "search/features.h"
#include "search/select_bandit.h"
#include "search/select_table.h"

namespace quern {

std::vector<Lineage> lineages(const SearchGraph& graph) {
  std::vector<Lineage> all(graph.children(0).size());
  std::vector<int> lineage_of(static_cast<size_t>(graph.size()), -1);
  for (size_t i = 0; i < all.size(); ++i) {
    lineage_of[static_cast<size_t>(graph.children(0)[i])] = static_cast<int>(i);
  }
  for (int id = 1; id < graph.size(); ++id) {
    int& mine = lineage_of[static_cast<size_t>(id)];
    const SearchNode& node = graph.node(id);
    if (mine < 0 && !node.parents.empty()) {
      mine = lineage_of[static_cast<size_t>(node.parents.front())];
    }
    if (mine < 0) continue;
    ++all[static_cast<size_t>(mine)].attempts;
  }
  for (int id : graph.ranked()) {
    const int mine = lineage_of[static_cast<size_t>(id)];
    if (mine >= 0 && graph.correct(id)) all[static_cast<size_t>(mine)].nodes.push_back(id);
  }
  return all;
}

std::vector<double> lineage_deficits(const std::vector<double>& deserved,
                                     const std::vector<int>& attempts) {
  const double total = std::max(1, std::accumulate(attempts.begin(), attempts.end(), 0));
  std::vector<double> deficits;
  for (size_t i = 0; i < deserved.size(); ++i) {
    deficits.push_back(deserved[i] / (attempts[i] / total + 1 / total));
  }
  return deficits;
}

std::vector<int> cell_elites(const SearchGraph& graph) {
  std::map<std::vector<int>, int> elite;
  std::vector<int> elites;
  for (int id : graph.ranked()) {
    if (elite.emplace(graph.node(id).cell, id).second) elites.push_back(id);
  }
  return elites;
}

std::vector<double> cell_promise(const SearchGraph& graph, const std::vector<int>& elites) {
  double mean = 0;
  for (int id : elites) mean += graph.node(id).score / static_cast<double>(elites.size());
  struct Tries {
    int all = 0, improved = 0;
    double best = 0;
  };
  std::map<std::vector<int>, Tries> tries;
  for (int id = 1; id < graph.size(); ++id) {
    const SearchNode& node = graph.node(id);
    if (node.parents.empty()) continue;
    // A try of a cell is a child of one of its kernels.
    Tries& cell = tries[graph.node(node.parents.front()).cell];
    ++cell.all;
    if (node.gain > 0) ++cell.improved;
  }
  std::vector<double> promise;
  for (int id : elites) {
    const SearchNode& node = graph.node(id);
    const Tries& cell = tries[node.cell];
    const double rate = cell.all > 0 ? static_cast<double>(cell.improved) / cell.all : 0;
    promise.push_back(0.4 * (mean > 0 ? node.score / mean : 0) + 0.4 * rate + 0.2 / (1 + cell.all));
  }
  return promise;
}

void Migration::migrate(const SearchGraph& graph, int islands, double rate) {
  const std::vector<int> ranked = graph.ranked();
  for (int island = 0; islands > 1 && island < islands; ++island) {
    const int next = (island + 1) % islands;
    std::vector<int> own;
    std::set<std::vector<uint32_t>> known;
    for (int id : ranked) {
      const SearchNode& node = graph.node(id);
      if (node.island == island) own.push_back(id);
      if (node.island == next || visits(id, next)) known.insert(node.sketch);
    }
    const auto most = static_cast<size_t>(std::max(1.0, rate * static_cast<double>(own.size())));
    for (size_t i = 0; i < std::min(most, own.size()); ++i) {
      const std::vector<uint32_t>& sketch = graph.node(own[i]).sketch;
      if (sketch.empty() || known.insert(sketch).second) guests_[next].insert(own[i]);
    }
  }
}

bool Migration::visits(int node, int island) const {
  const auto found = guests_.find(island);
  return found != guests_.end() && found->second.contains(node);
}

namespace {

std::vector<double> scores_of(const SearchGraph& graph, const std::vector<int>& nodes) {
  std::vector<double> scores;
  for (int id : nodes) scores.push_back(graph.node(id).score);
  return scores;
}

/// Islands in turn; in each: anyone, a member of the archive, or one weighted by score.
class Mixture : public Selector {
 public:
  explicit Mixture(const SelectorSettings& s)
      : explore_(s.numbers.at("explore")),
        exploit_(s.numbers.at("exploit")),
        archive_(static_cast<size_t>(std::max(1.0, s.numbers.at("archive")))),
        islands_(std::max(1, static_cast<int>(s.numbers.at("islands")))),
        migrate_every_(static_cast<int>(s.numbers.at("migrate_every"))),
        migrate_rate_(s.numbers.at("migrate_rate")) {}

  Pick pick(const SearchGraph& graph, Random& random) override {
    const int island = picks_ % islands_;
    // A generation is one pick of each island.
    const int generation = picks_++ / islands_;
    const bool due = migrate_every_ > 0 && generation > 0 && generation % migrate_every_ == 0;
    if (due && island == 0) migration_.migrate(graph, islands_, migrate_rate_);
    const std::vector<int> ranked = graph.ranked();
    const std::vector<int> mine = of_island(graph, ranked, island);
    const std::vector<int>& local = mine.empty() ? ranked : mine;
    Pick pick;
    pick.island = island;
    const double draw = random.unit();
    if (draw < explore_) {
      pick.parents = {local[random.below(local.size())]};
    } else if (draw < explore_ + exploit_) {
      const std::vector<int> archive(
          ranked.begin(), ranked.begin() + static_cast<long>(std::min(archive_, ranked.size())));
      const std::vector<int> near = of_island(graph, archive, island);
      const std::vector<int>& from = near.empty() ? archive : near;
      pick.parents = {from[random.below(from.size())]};
    } else {
      std::vector<double> weights = scores_of(graph, local);
      for (double& weight : weights) weight = std::max(weight, 0.001);
      pick.parents = {local[random.weighted(weights)]};
    }
    return pick;
  }

 private:
  std::vector<int> of_island(const SearchGraph& graph, std::vector<int> nodes, int island) const {
    std::erase_if(nodes, [&](int id) {
      return graph.node(id).island != island && !migration_.visits(id, island);
    });
    return nodes;
  }

  double explore_, exploit_;
  size_t archive_;
  int islands_, migrate_every_;
  double migrate_rate_;
  Migration migration_;
  int picks_ = 0;
};

/// The best of a few drawn at random; a second parent the same way where two are asked for.
class Tournament : public Selector {
 public:
  explicit Tournament(const SelectorSettings& s)
      : size_(std::max(1, static_cast<int>(s.numbers.at("size")))),
        parents_(std::max(1, static_cast<int>(s.numbers.at("parents")))) {}

  Pick pick(const SearchGraph& graph, Random& random) override {
    const std::vector<int> ranked = graph.ranked();
    Pick pick;
    for (int i = 0; i < parents_; ++i) {
      size_t winner = ranked.size() - 1;
      for (int entrant = 0; entrant < size_; ++entrant) {
        winner = std::min(winner, random.below(ranked.size()));
      }
      const int id = ranked[winner];
      if (std::ranges::find(pick.parents, id) == pick.parents.end()) pick.parents.push_back(id);
    }
    return pick;
  }

 private:
  int size_, parents_;
};

/// In proportion to n − rank: rank 0 is the best.
class RankShare : public Selector {
 public:
  Pick pick(const SearchGraph& graph, Random& random) override {
    const std::vector<int> ranked = graph.ranked();
    std::vector<double> weights;
    for (size_t i = 0; i < ranked.size(); ++i) {
      weights.push_back(static_cast<double>(ranked.size() - i));
    }
    return {{ranked[random.weighted(weights)]}};
  }
};

class Boltzmann : public Selector {
 public:
  explicit Boltzmann(const SelectorSettings& s)
      : temperature_(s.numbers.at("temperature")), period_(s.numbers.at("period")) {}

  /// The temperature falls from its start to nothing over a period, then starts again.
  Pick pick(const SearchGraph& graph, Random& random) override {
    const std::vector<int> ranked = graph.ranked();
    const double place = static_cast<double>(picks_++ % std::max(1L, static_cast<long>(period_)));
    const double temperature = temperature_ * std::max(1e-3, 1 - place / period_);
    return {{ranked[random.weighted(softmax(scores_of(graph, ranked), temperature))]}};
  }

 private:
  double temperature_, period_;
  long picks_ = 0;
};

/// Clusters of like kernels in turn; in each a softmax of scores whose temperature rises as the
/// kernels become alike.
class ClusterBoltzmann : public Selector {
 public:
  explicit ClusterBoltzmann(const SelectorSettings& s)
      : clusters_(static_cast<size_t>(std::max(1.0, s.numbers.at("clusters")))),
        temperature_(s.numbers.at("temperature")),
        exchange_(static_cast<int>(s.numbers.at("exchange"))) {}

  Pick pick(const SearchGraph& graph, Random& random) override {
    std::vector<int> ranked = graph.ranked();
    const int turn = picks_++;
    if (turn % kRegroup == 0) regroup(graph, ranked, random);
    const bool exchange = exchange_ > 0 && turn % exchange_ == exchange_ - 1;
    const int cluster = turn % static_cast<int>(clusters_);
    std::vector<int> mine = ranked;
    std::erase_if(mine, [&](int id) {
      const int known =
          static_cast<size_t>(id) < cluster_.size() ? cluster_[static_cast<size_t>(id)] : -1;
      return known >= 0 && known != cluster;
    });
    const std::vector<int>& from = exchange || mine.empty() ? ranked : mine;
    const double pressure = temperature_ * (2 - mean_distance(graph, from));
    Pick pick{{from[random.weighted(softmax(scores_of(graph, from), pressure))]}};
    pick.island = cluster;
    // An exchange brings in a second parent from anywhere.
    const int other = ranked[random.below(ranked.size())];
    if (exchange && other != pick.parents[0]) pick.parents.push_back(other);
    return pick;
  }

 private:
  static constexpr int kRegroup = 10;

  void regroup(const SearchGraph& graph, const std::vector<int>& ranked, Random& random) {
    cluster_.clear();
    std::vector<std::vector<double>> points;
    for (int id : ranked) points.push_back(graph.node(id).features);
    const size_t size = points.front().size();
    if (std::ranges::any_of(points, [&](const auto& p) { return p.size() != size; })) return;
    const std::vector<int> of = k_means(std::move(points), clusters_, random);
    cluster_.assign(static_cast<size_t>(graph.size()), -1);
    for (size_t i = 0; i < of.size(); ++i) cluster_[static_cast<size_t>(ranked[i])] = of[i];
  }

  /// Of neighbours by rank, which is enough to tell whether all are alike.
  static double mean_distance(const SearchGraph& graph, const std::vector<int>& nodes) {
    double sum = 0;
    const size_t pairs = std::min<size_t>(nodes.size() - 1, 32);
    for (size_t i = 0; i < pairs; ++i) {
      sum += sketch_distance(graph.node(nodes[i]).sketch, graph.node(nodes[i + 1]).sketch);
    }
    return pairs == 0 ? 1 : sum / static_cast<double>(pairs);
  }

  size_t clusters_;
  double temperature_;
  int exchange_;
  int picks_ = 0;
  std::vector<int> cluster_;  ///< by node, as grouped last; -1: not grouped
};

/// Work goes to the lineage that got least of what its best score deserves.
class LineageDeficit : public Selector {
 public:
  explicit LineageDeficit(const SelectorSettings& s)
      : hot_(s.numbers.at("hot")),
        cold_(s.numbers.at("cold")),
        cooling_(s.numbers.at("cooling")),
        exploit_(s.numbers.at("exploit")) {}

  Pick pick(const SearchGraph& graph, Random& random) override {
    std::vector<Lineage> all = lineages(graph);
    std::erase_if(all, [](const Lineage& lineage) { return lineage.nodes.empty(); });
    const double progress = std::min(1.0, picks_++ / std::max(1.0, cooling_));
    if (all.empty()) return {{graph.best()}};
    std::vector<double> best;
    std::vector<int> attempts;
    for (const Lineage& lineage : all) {
      best.push_back(graph.node(lineage.nodes.front()).score);
      attempts.push_back(lineage.attempts);
    }
    const double temperature = hot_ + (cold_ - hot_) * progress;
    const auto deficits = lineage_deficits(softmax(best, temperature), attempts);
    const auto chosen = std::ranges::max_element(deficits) - deficits.begin();
    const std::vector<int>& nodes = all[static_cast<size_t>(chosen)].nodes;
    return {{random.chance(exploit_) ? nodes.front() : nodes[random.below(nodes.size())]}};
  }

 private:
  double hot_, cold_, cooling_, exploit_;
  double picks_ = 0;
};

/// Over the elites of a feature grid: any of them, one by its score, or one by what its cell
/// promises.
class Curiosity : public Selector {
 public:
  explicit Curiosity(const SelectorSettings& s)
      : uniform_(s.numbers.at("uniform")), fitness_(s.numbers.at("fitness")) {}

  Pick pick(const SearchGraph& graph, Random& random) override {
    const std::vector<int> elites = cell_elites(graph);
    const double draw = random.unit();
    if (draw < uniform_) return {{elites[random.below(elites.size())]}};
    const bool by_score = draw < uniform_ + fitness_;
    return {{elites[random.weighted(by_score ? scores_of(graph, elites)
                                             : cell_promise(graph, elites))]}};
  }

 private:
  double uniform_, fitness_;
};

}  // namespace

std::vector<SelectorInfo> population_selectors() {
  return {
      {"mixture",
       "islands in turn; with probability `explore` any correct node of the island, with "
       "probability `exploit` any of the archive (its island's first), else weighted by score",
       "OpenEvolve",
       {{"explore", 0.2, "share of uniform picks"},
        {"exploit", 0.7, "share of picks from the archive"},
        {"archive", 100, "size of the archive"},
        {"islands", 5, "populations beside each other"},
        {"migrate_every", 50, "generations between migrations along the ring; 0: none"},
        {"migrate_rate", 0.1, "share of an island that migrates"}},
       made<Mixture>},
      {"tournament",
       "the best of `size` drawn at random, `parents` times",
       "cuPilot arXiv 2512.16465, AI CUDA Engineer",
       {{"size", 3, "entrants"}, {"parents", 1, "how many are picked"}},
       made<Tournament>},
      {"rank", "in proportion to n - rank", "EvoEngineer, arXiv 2510.03760", {}, made<RankShare>},
      {"boltzmann",
       "softmax of the scores at a temperature that falls to nothing over `period` picks",
       "FunSearch, FM Agent",
       {{"temperature", 0.1, "at the start of a period"}, {"period", 30000, "picks"}},
       made<Boltzmann>},
      {"cluster-boltzmann",
       "clusters of like kernels in turn; in each a softmax of the scores at temperature * (2 - "
       "mean "
       "distance), so that pressure falls as the kernels become alike; every `exchange` picks over "
       "all clusters, with a second parent",
       "FM Agent, arXiv 2510.26144, in its style",
       {{"clusters", 4, "which are the islands"},
        {"temperature", 0.2, "of the softmax where nothing is alike"},
        {"exchange", 8, "picks between two exchanges; 0: none"}},
       made<ClusterBoltzmann>},
      {"lineage-deficit",
       "the lineage with the largest deserved / (actual + 1 / N) share of the attempts, deserved "
       "by a softmax of best scores; in it the best node with probability `exploit`, else any",
       "AKG, arXiv 2512.23424",
       {{"hot", 1.5, "temperature at the start"},
        {"cold", 0.5, "temperature at the end"},
        {"cooling", 64, "picks from the one to the other"},
        {"exploit", 0.7, "share of picks of a lineage's best"}},
       made<LineageDeficit>},
      {"curiosity",
       "over the elites of a feature grid: uniform, by score, or by 0.4 score + 0.4 rate of "
       "improvement + 0.2 novelty of the cell",
       "KernelFoundry, arXiv 2603.12440, in its style",
       {{"uniform", 0.3, "share of uniform picks"}, {"fitness", 0.4, "share of picks by score"}},
       made<Curiosity>},
  };
}

}  // namespace quern
