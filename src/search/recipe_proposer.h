// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "llm/client.h"
#include "propose/proposer.h"
#include "search/feedback.h"
#include "search/recipe.h"
#include "search/recipe_prompts.h"
#include "search/role_caller.h"
#include "search/score.h"
#include "search/select_bandit.h"
#include "search/sub_search.h"

namespace quern {

/// Makes candidates by a recipe: picks what to work on, asks models, takes the kernel out of their
/// replies; or lets a sub-search, a tuner or the rules make them. Calls of one batch are under way
/// at once, stage by stage. Given the same replies and the same feedback it does the same, so that
/// a run with a cassette replays bit for bit.
class RecipeProposer : public Proposer {
 public:
  /// `client` outlives it; null: no model is asked, and only operators that need none are used.
  RecipeProposer(Recipe recipe, RecipeSetting setting, Prompts prompts, llm::Client* client);
  ~RecipeProposer() override;

  /// At most `Recipe::width` candidates, of a sub-search `count`. None once nothing can be
  /// afforded, a rule said stop, or several rounds in a row brought no code. Errors: a model that
  /// cannot be asked (key, name, price), a prompt that is missing, a cassette that does not have
  /// the exchange.
  Result<std::vector<ProposedCandidate>> next(int count) override;
  void tell(const Attempt& attempt) override;

  const SearchGraph& graph() const { return graph_; }
  const NodeRecord& record(int node) const { return records_[static_cast<size_t>(node)]; }
  /// The candidate of a node; "" of the root, and where none came of it.
  std::string candidate_id(int node) const {
    const bool known = node >= 0 && node < static_cast<int>(records_.size());
    return known ? record(node).candidate_id : "";
  }
  const InsightMemory& memory() const { return memory_; }
  const std::string& guidance() const { return guidance_; }

 private:
  using Candidates = std::vector<ProposedCandidate>;
  /// One candidate in the making.
  struct Work {
    RoleCall call;
    const RecipeOperator* made_by = nullptr;
    std::vector<const RecipeRole*> roles;
    std::vector<std::string> sources;  ///< variants, the first is tried first
    std::string problem;               ///< why there is none
    std::vector<int> insights;         ///< in view
  };
  struct Waiting {
    int node;
    Pick pick;
  };
  struct Reflection {
    int node;
    const RecipeReflection* row;
  };

  RecipePrompts::Sources sources() const {
    return {graph_, records_, memory_, *selector_, guidance_};
  }
  NodeRecord& record_of(int node) { return records_[static_cast<size_t>(node)]; }
  int add_node(SearchNode node);

  // Choosing.
  Result<void> advise();
  Result<std::optional<Work>> choose();
  Result<const RecipeOperator*> choose_operator(const Pick& pick);
  bool usable(const RecipeOperator& row) const;
  Work begin(Pick pick, const RecipeOperator& made_by);

  // Making.
  Result<bool> make(int count, Candidates& ready);
  Result<void> run_stage(std::vector<Work>& works, size_t stage);
  void take_reply(Work& work, size_t stage, const std::string& text) const;
  Result<std::string> code_in(const RecipeRole& role, const Work& work,
                              const std::string& text) const;
  Result<void> begin_sub(const Work& work);
  void finish(Work& work, Candidates& ready);
  void offer(int node, const Pick& pick, std::string source, Candidates& ready);
  void fail(int node, const Pick& pick, const std::string& why);
  Result<void> reflect();

  // Learning.
  void note_baseline(const Attempt& attempt);
  void end_subs();
  void judge(int node, const Pick& pick, const Attempt& attempt);
  void close(int node, const Pick& pick);
  void describe(SearchNode& node, const std::string& source) const;
  void try_again(int node, const Pick& pick);
  void follow_rules(int node, bool is_best);

  Recipe recipe_;
  RecipeSetting setting_;
  RecipePrompts prompts_;
  Prompts templates_;  ///< for sub-searches
  llm::Client* client_;
  RoleCaller caller_;
  std::unique_ptr<Selector> selector_;
  const ScoreRule* score_;
  const GainRule* gain_;
  const AcceptRule* accept_;
  std::vector<const FeedbackChannel*> feedback_;
  Random random_;
  SearchGraph graph_;
  std::vector<NodeRecord> records_;  ///< by node
  InsightMemory memory_;
  std::string guidance_;
  Controller controller_;
  BanditArms earned_;  ///< by operator
  int choices_ = 0;
  std::map<std::string, std::vector<Waiting>> waiting_;  ///< by candidate id
  SubSearches subs_;
  std::map<int, int> spent_;         ///< attempts of a node's sub-search
  std::unique_ptr<Proposer> rules_;  ///< goes on in every sub-search by rules
  bool rules_done_ = false;
  std::map<int, std::vector<std::string>> spares_;  ///< variants not yet tried, by node
  Candidates due_;                                  ///< variants that come next
  std::deque<int> repairs_;                         ///< failed nodes to be mended next
  std::vector<Reflection> reflections_;             ///< to be written before the next pick
  std::vector<int> matched_;                        ///< nodes that each reflection row met
  std::vector<Attempt> baselines_;
  double reference_ns_ = 0;
  int best_ = 0;  ///< of those judged; the root counts
  bool stopped_ = false, large_next_ = false;
  std::string switch_to_;
  std::vector<const RecipeRole*> asked_first_;  ///< by rules, for the next work
};

}  // namespace quern
