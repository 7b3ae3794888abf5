// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ir/program.h"
#include "llm/message.h"
#include "propose/prompt.h"
#include "propose/proposer.h"
#include "search/graph.h"
#include "search/insights.h"
#include "search/recipe.h"

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
  double flops = 0, bytes = 0;           ///< that the task must do, at the size searched at
  double gflops = 0, bandwidth_gbs = 0;  ///< of the machine; 0: unknown
  /// The built-in rules, for operators that search by them; empty: there are none.
  std::function<std::unique_ptr<Proposer>(uint64_t seed)> rules;
};

/// The parts of a setting that follow from the task.
RecipeSetting recipe_setting(const ir::Program& program);

/// What is known of a node of the graph beyond what selection goes by.
struct NodeRecord {
  std::string source, outcome;
  std::string plan;           ///< what was written before the code, last
  std::string candidate_id;   ///< "" of the root, and where there is no source
  int repairs = 0;            ///< in a row that led here
  std::vector<int> insights;  ///< that were in view
};

/// What one call to a model is about.
struct RoleCall {
  Pick pick;            ///< the first parent is the kernel to work on
  std::string made_by;  ///< the operator; "" where none is at work
  int node = -1;        ///< the one in the making, which is not shown; -1: none
  std::vector<std::pair<std::string, std::string>> notes;  ///< role, what it wrote
  std::string item;      ///< of a list that an earlier role wrote, where the role goes through one
  std::string question;  ///< of the selector, for its advisor
};

/// Says things to models: fills in the prompts of a recipe's roles.
class RecipePrompts {
 public:
  RecipePrompts(const RecipeSetting& setting, Prompts prompts);

  /// What of a search a request is made from.
  struct Sources {
    const SearchGraph& graph;
    const std::vector<NodeRecord>& records;  ///< by node
    const InsightMemory& memory;
    const Selector& selector;
    const std::string& guidance;
  };
  /// `shown`: takes the numbers of the insights in view. Errors: a prompt that is not there.
  Result<llm::Request> request(const RecipeRole& role, const RoleCall& call, const Sources& from,
                               Random& random, std::vector<int>* shown);

 private:
  Result<std::string> context(const RecipeRole& role, const Sources& from,
                              std::vector<int>* shown) const;

  const RecipeSetting& setting_;
  Prompts prompts_;
  std::string system_, task_;  ///< what every request begins with; "" until the first
};

/// The speed over its parent's that a text expects ("Expected: 1.3x"), or 0.
double expected_speed(const std::string& text);

}  // namespace quern
