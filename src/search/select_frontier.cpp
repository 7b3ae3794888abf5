// SPDX-License-Identifier: Apache-2.0
// A tree of hypotheses that a model edits and code orders (K-Search).
#include "search/select_frontier.h"

#include <fmt/format.h>

#include <algorithm>

#include "llm/untrusted_json.h"
#include "search/select_table.h"

namespace quern {
namespace {

constexpr int kMostInserts = 3;
constexpr size_t kMostCharacters = 6000;
/// An open action must promise so much, else strategies of the recipe are added.
constexpr double kPromise = 0.5;

double number_or(const Json& edit, const char* key, double otherwise, double low, double high) {
  const auto found = edit.find(key);
  if (found == edit.end() || !found->is_number()) return otherwise;
  return std::clamp(found->get<double>(), low, high);
}

int id_or(const Json& edit, const char* key) {
  const auto found = edit.find(key);
  return found != edit.end() && found->is_number_integer() ? found->get<int>() : -1;
}

void set_numbers(const Json& edit, Hypothesis& hypothesis) {
  hypothesis.score = number_or(edit, "score", hypothesis.score, 0, 1);
  hypothesis.difficulty =
      static_cast<int>(number_or(edit, "difficulty", hypothesis.difficulty, 1, 5));
  hypothesis.rating = number_or(edit, "rating", hypothesis.rating, 0, 10);
  hypothesis.confidence = number_or(edit, "confidence", hypothesis.confidence, 0, 1);
}

}  // namespace

int apply_tree_edits(HypothesisTree& tree, const std::string& reply) {
  const size_t first = reply.find('['), last = reply.rfind(']');
  if (first == std::string::npos || last == std::string::npos || last < first) return 0;
  const auto edits = llm::parse_untrusted(reply.substr(first, last - first + 1));
  if (!edits || !edits->is_array()) return 0;
  int applied = 0, inserts = 0;
  for (const Json& edit : *edits) {
    if (!edit.is_object()) continue;
    const auto title = edit.find("title");
    const int id = id_or(edit, "id"), parent = id_or(edit, "parent");
    const bool titled = title != edit.end() && title->is_string();
    if (titled && parent >= 0 && parent < tree.size() && id < 0 && inserts < kMostInserts) {
      Hypothesis made;
      made.parent = parent;
      made.title = title->get<std::string>().substr(0, 400);
      set_numbers(edit, made);
      tree.add(made);
      ++inserts, ++applied;
    } else if (id > 0 && id < tree.size() && tree.node(id).state == HypothesisState::kOpen) {
      const auto op = edit.find("op");
      if (op != edit.end() && *op == "delete") tree.node(id).state = HypothesisState::kTooHard;
      if (titled) tree.node(id).title = title->get<std::string>().substr(0, 400);
      set_numbers(edit, tree.node(id));
      ++applied;
    }
  }
  return applied;
}

std::string describe(const HypothesisTree& tree, const SearchGraph& graph) {
  std::string text;
  for (int id = 0; id < tree.size(); ++id) {
    const Hypothesis& h = tree.node(id);
    const char* state = h.state == HypothesisState::kOpen     ? "open"
                        : h.state == HypothesisState::kSolved ? "done"
                                                              : "too hard";
    std::string line =
        fmt::format("{}. under {}: {} [{}; score {:.2f}, difficulty {}, rating {:.1f}", id,
                    h.parent, h.title, state, h.score, h.difficulty, h.rating);
    if (h.solution > 0) line += fmt::format("; {:.2f}×", graph.node(h.solution).speedup);
    line += "]\n";
    if (text.size() + line.size() > kMostCharacters) break;
    text += line;
  }
  return text;
}

bool ActionProgress::took(const SearchGraph& graph, int node, int base) {
  last = node;
  const bool correct = graph.correct(node);
  const double score = graph.node(node).score;
  const bool better = correct && (best < 0 || score > graph.node(best).score);
  if (better) best = node;
  without_gain = better ? 0 : without_gain + 1;
  const bool beats = best >= 0 && graph.node(best).score > graph.node(base).score;
  unable = beats ? 0 : unable + 1;
  return without_gain >= patience || unable >= patience;
}

namespace {

class Frontier : public Selector {
 public:
  explicit Frontier(const SelectorSettings& s)
      : settings_(s), patience_(static_cast<int>(s.numbers.at("patience"))) {}

  std::string question(const SearchGraph& graph) override {
    if (action_ >= 0 || (asked_ && !closed_)) return "";
    return describe(tree_, graph);
  }

  void answer(const SearchGraph&, const std::string& reply) override {
    apply_tree_edits(tree_, reply);
    asked_ = true;
    closed_ = false;
  }

  std::string context(const SearchGraph& graph) const override {
    return "What was considered so far:\n" + describe(tree_, graph);
  }

  Pick pick(const SearchGraph& graph, Random&) override {
    if (action_ < 0) open_next(graph);
    if (action_ < 0) return {{graph.best()}};
    Pick pick{{base()}};
    pick.arm = action_;
    pick.strategy = tree_.node(action_).title;
    // Mend what failed last, else go on from the best of this action.
    if (progress_.last >= 0) {
      const bool failed = graph.failed(progress_.last);
      pick.parents = {failed || progress_.best < 0 ? progress_.last : progress_.best};
    }
    return pick;
  }

  void told(const SearchGraph& graph, int node, const Pick& pick) override {
    if (pick.arm < 0 || pick.arm != action_) return;
    if (!progress_.took(graph, node, base())) return;
    Hypothesis& action = tree_.node(action_);
    const bool beats =
        progress_.best >= 0 && graph.node(progress_.best).score > graph.node(base()).score;
    action.state = beats ? HypothesisState::kSolved : HypothesisState::kTooHard;
    if (beats) action.solution = progress_.best;
    action_ = -1;
    closed_ = true;
  }

 private:
  int base() const { return tree_.node(tree_.node(action_).parent).solution; }

  double best_share(const SearchGraph& graph) const {
    const double time = graph.node(graph.best()).time_ns;
    return graph.goal_ns() > 0 && time > 0 ? graph.goal_ns() / time : 0;
  }

  /// The first of the frontier; the recipe's strategies come in when the model left too little.
  void open_next(const SearchGraph& graph) {
    std::vector<int> open = tree_.frontier(best_share(graph));
    const bool promising =
        std::ranges::any_of(open, [&](int id) { return tree_.node(id).score > kPromise; });
    if (!promising && next_strategy_ < settings_.strategies.size()) {
      Hypothesis made;
      made.parent = best_solved(graph);
      made.title = settings_.strategies[next_strategy_++].name;
      made.score = kPromise + 0.1;
      tree_.add(made);
      open = tree_.frontier(best_share(graph));
    }
    progress_ = {};
    progress_.patience = patience_;
    action_ = open.empty() ? -1 : open.front();
  }

  int best_solved(const SearchGraph& graph) const {
    int best = 0;
    for (int id = 1; id < tree_.size(); ++id) {
      const Hypothesis& h = tree_.node(id);
      if (h.state != HypothesisState::kSolved) continue;
      const bool better =
          graph.node(h.solution).score > graph.node(tree_.node(best).solution).score;
      if (better) best = id;
    }
    return best;
  }

  SelectorSettings settings_;
  int patience_;
  HypothesisTree tree_;
  ActionProgress progress_;
  int action_ = -1;
  bool asked_ = false, closed_ = false;
  size_t next_strategy_ = 0;
};

}  // namespace

std::vector<SelectorInfo> frontier_selectors() {
  return {
      {"frontier",
       "the first open action of a tree of hypotheses that the advisor edits, by score down, "
       "difficulty up, rating down; worked on until `patience` attempts in a row bring no gain, or "
       "none beats its base; strategies are its stock where the advisor leaves no promising one",
       "K-Search, arXiv 2602.19128",
       {{"patience", 5, "attempts without gain before an action is closed"}},
       made<Frontier>},
  };
}

}  // namespace quern
