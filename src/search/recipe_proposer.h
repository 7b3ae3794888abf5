// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ir/program.h"
#include "llm/client.h"
#include "propose/prompt.h"
#include "propose/proposer.h"
#include "search/graph.h"
#include "search/recipe.h"
#include "search/score.h"

namespace quern {

/// What a recipe works on.
struct RecipeSetting {
  std::string task_text;    ///< canonical
  std::string naive;        ///< source of the plain version
  std::string entry;        ///< name of the kernel's function
  std::string signature;    ///< its declaration
  std::string size_macros;  ///< "QUERN_SIZE_n, …"
  std::string hardware;     ///< one line
  std::string model;        ///< "provider/model"
  uint64_t seed = 0;
};

/// The parts of a setting that follow from the task.
RecipeSetting recipe_setting(const ir::Program& program);

/// Makes candidates by a recipe: picks what to work on, asks models, takes the kernel out of their
/// replies. Calls of one batch are under way at once, stage by stage. Given the same replies and
/// the same feedback it does the same, so that a run with a cassette replays bit for bit.
class RecipeProposer : public Proposer {
 public:
  /// `client` outlives it.
  RecipeProposer(Recipe recipe, RecipeSetting setting, Prompts prompts, llm::Client& client);
  ~RecipeProposer() override;

  /// At most `Recipe::width` candidates. None once the budget of calls is spent, or when several
  /// rounds in a row brought no code. Errors: a model that cannot be asked (key, name, price), a
  /// prompt that is missing, a cassette that does not have the exchange.
  Result<std::vector<ProposedCandidate>> next(int count) override;
  void tell(const Attempt& attempt) override;

  const SearchGraph& graph() const { return graph_; }
  /// The candidate of a node; "" of the root, and where none came of it.
  std::string candidate_id(int node) const {
    const auto found = memos_.find(node);
    return found == memos_.end() ? "" : found->second.candidate_id;
  }

 private:
  /// One candidate in the making.
  struct Work {
    int node = 0;
    Pick pick;
    const RecipeOperator* made_by = nullptr;
    std::vector<std::pair<std::string, std::string>> notes;  ///< role, what it wrote
    std::string source;
    std::string problem;  ///< why there is no source
  };
  /// What is known of a node beyond the graph.
  struct Memo {
    std::string source, outcome;
    std::string candidate_id;  ///< "" of the root, and where there is no source
    int repairs = 0;           ///< in a row that led here
  };
  struct Waiting {
    int node;
    Pick pick;
  };

  Result<Work> choose();
  Result<llm::Request> request(const Work& work, const RecipeRole& role);
  Result<bool> run_stage(std::vector<Work>& works, size_t stage);
  void take_reply(Work& work, const RecipeRole& role, const std::string& text) const;
  Json shown(int node) const;
  void judge(const Waiting& waiting, const Attempt& attempt);
  void close(const Waiting& waiting);

  Recipe recipe_;
  RecipeSetting setting_;
  Prompts prompts_;
  std::string system_, task_;  ///< what every request begins with; "" until the first
  llm::Client& client_;
  std::unique_ptr<Selector> selector_;
  const ScoreRule* score_;
  const GainRule* gain_;
  const AcceptRule* accept_;
  Random random_;
  SearchGraph graph_;
  std::map<int, Memo> memos_;
  std::map<std::string, std::deque<Waiting>> waiting_;  ///< by candidate id
  std::deque<int> repairs_;                             ///< failed nodes to be mended next
  double reference_ns_ = 0;
  int best_ = 0;  ///< of those judged; the root counts
};

}  // namespace quern
