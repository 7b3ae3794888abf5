// SPDX-License-Identifier: Apache-2.0
// Selectors that keep no statistics.
#include <algorithm>

#include "search/select_table.h"

namespace quern {
namespace {

class Last : public Selector {
 public:
  Pick pick(const SearchGraph& graph, Random&) override { return {{graph.current()}}; }
};

/// Chains beside each other: the last judged node of each in turn.
class Chains : public Selector {
 public:
  explicit Chains(const SelectorSettings& s)
      : chains_(std::max(1, static_cast<int>(s.numbers.at("chains")))) {}
  Pick pick(const SearchGraph& graph, Random&) override {
    const int chain = picks_++ % chains_;
    Pick pick{{0}};
    pick.island = chain;
    for (int id = 1; id < graph.size(); ++id) {
      const SearchNode& node = graph.node(id);
      if (node.island == chain && node.state != NodeState::kPending) pick.parents = {id};
    }
    return pick;
  }

 private:
  int chains_;
  int picks_ = 0;
};

class Best : public Selector {
 public:
  Pick pick(const SearchGraph& graph, Random&) override { return {{graph.best()}}; }
};

/// Each of the best k in turn, m times.
class Top : public Selector {
 public:
  explicit Top(const SelectorSettings& s)
      : best_(std::max(1, static_cast<int>(s.numbers.at("best")))),
        times_(std::max(1, static_cast<int>(s.numbers.at("times")))) {}
  Pick pick(const SearchGraph& graph, Random&) override {
    const std::vector<int> ranked = graph.ranked();
    const int among = std::min(best_, static_cast<int>(ranked.size()));
    return {{ranked[static_cast<size_t>(picks_++ / times_ % among)]}};
  }

 private:
  int best_, times_;
  int picks_ = 0;
};

/// A fixed sequence of strategies, each on what the one before left.
class Script : public Selector {
 public:
  explicit Script(const SelectorSettings& s) : strategies_(s.strategies) {}
  Pick pick(const SearchGraph& graph, Random&) override {
    int base = graph.current();
    while (base > 0 && !graph.correct(base)) base = graph.node(base).parents.front();
    Pick pick{{base}};
    pick.strategy = strategies_[next_++ % strategies_.size()].name;
    return pick;
  }

 private:
  std::vector<Strategy> strategies_;
  size_t next_ = 0;
};

}  // namespace

std::vector<SelectorInfo> plain_selectors() {
  return {
      {"last",
       "the last node that the acceptance rule let stand",
       "CudaForge, Caesar, TritorX",
       {},
       made<Last>},
      {"chains",
       "the last node of each of `chains` chains in turn",
       "Kevin, arXiv 2507.11948",
       {{"chains", 16, "beside each other"}},
       made<Chains>},
      {"best", "the correct node with the highest score", "AVO, KernelSkill", {}, made<Best>},
      {"top",
       "each of the best `best` nodes in turn, `times` times",
       "AccelOpt, GEAK, KernelAgent",
       {{"best", 5, "how many"}, {"times", 1, "picks of one before the next"}},
       made<Top>},
      {"script",
       "the strategies in the order given, each on the last correct node",
       "PEAK, arXiv 2512.19018",
       {},
       made_of_strategies<Script>},
  };
}

}  // namespace quern
