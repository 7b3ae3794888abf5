// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "search/graph.h"

namespace quern {

/// Where a search stands, as rules see it. Attempts are those that were judged.
struct SearchState {
  int attempts = 0;
  int since_best = 0;  ///< attempts since the last new best
  int failures = 0;    ///< in a row
  int passed = 0;
  double best_speedup = 0;            ///< over the plain version
  double best_roofline = 0;           ///< 0–1
  double last_slowdown = 0;           ///< time of the last correct one over the best's
  std::vector<double> best_times_ns;  ///< after each attempt
};
/// Takes in a node that was judged. `is_best`: it is the new best.
void advance(SearchState& state, const SearchNode& node, bool is_best);

/// `when = "no-gain 5"`, `do = "stop"` of a recipe.
struct RecipeRule {
  std::string when;
  double number = 0;  ///< of the condition
  std::string action;
  std::string argument;  ///< of the action: an operator's or a role's name
};

struct RuleCondition {
  const char* name;
  bool (*holds)(const SearchState& state, double number, int since_fired);
  bool again;  ///< acts whenever it holds, not only when it comes to hold
  const char* meaning;
};
struct RuleAction {
  const char* name;
  bool needs_argument;
  const char* meaning;
};
std::span<const RuleCondition> rule_conditions();
std::span<const RuleAction> rule_actions();

/// Reads "no-gain 5" and "switch explore". Errors: unknown condition or action with a suggestion, a
/// number or an argument that is missing or too much.
Result<RecipeRule> parse_rule(const std::string& when, const std::string& action);

/// Rules that watch a search. A rule acts when its condition comes to hold; those that count
/// attempts count anew from there.
class Controller {
 public:
  explicit Controller(std::vector<RecipeRule> rules);
  /// After each judged node: the rules that act now, in the order of the recipe.
  std::vector<const RecipeRule*> advance(const SearchNode& node, bool is_best);
  const SearchState& state() const { return state_; }

 private:
  std::vector<RecipeRule> rules_;
  std::vector<int> fired_;  ///< attempts when each acted last; 0: never
  std::vector<bool> held_;  ///< whether each condition held before
  SearchState state_;
};

}  // namespace quern
