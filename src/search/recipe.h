// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "search/controller.h"
#include "search/insights.h"
#include "search/select.h"
#include "search/view.h"

namespace quern {

/// What a model's reply is taken for.
enum class RoleOutput {
  kCode,
  kEdits,
  kTemplate,  ///< code with `// tune:` lines (propose/tuner.h)
  kText,
};

/// One kind of call to a model.
struct RecipeRole {
  std::string name;
  std::string prompt;  ///< template (prompts/NAME.mustache); default: the role's name
  RoleOutput output = RoleOutput::kCode;
  View view;
  std::optional<double> temperature;
  std::string model;  ///< "": the run's
  std::string each;   ///< asked once for each item that this role listed; "": once
};

/// When an operator applies, by the node that was picked.
struct OperatorCondition {
  const char* name;
  bool counts;  ///< takes a number: "early 10"
  const char* meaning;
};

/// What makes one candidate: a chain of roles, of which what one writes is shown to those after it
/// and the last writes code, edits or a template; or else a search of its own.
struct RecipeOperator {
  std::string name;
  std::string when = "any";
  double number = 0;  ///< of the condition
  double weight = 1;  ///< among operators that apply: one is drawn in proportion
  std::vector<std::string> roles;
  int workers = 1;   ///< variants asked for at once; the first that passes wins
  std::string sub;   ///< "rules", or the recipe that makes the candidate; "": roles do
  int attempts = 8;  ///< of the sub-search, each time
};

/// What is written after an attempt was judged, and where it goes.
struct RecipeReflection {
  std::string role;
  std::string when = "any";  ///< "any", "correct", "failed", "best", "gain", "loss"
  double number = 0;         ///< of gain and loss: speed over the parent's, or the inverse
  int every = 1;             ///< only each so many of them
  bool guides = false;       ///< replaces the guidance that all prompts carry; else adds insights
  int most = 3;              ///< insights from one reply
};

/// A search method as data (recipes/NAME.toml; docs/recipes.md).
struct Recipe {
  std::string name;
  std::string title, source, faithful, in_style;
  std::string score = "speedup", gain = "share-saved";
  std::string accept = "always";
  double accept_factor = 1;
  std::string selector;
  std::string advisor;  ///< role that the selector asks; "": none
  SelectorSettings settings;
  int repairs = 0;    ///< a failed node is repaired so often at once, before the selector is asked
  int width = 1;      ///< picks under way at once
  bool pays = false;  ///< operators that apply are chosen by what they earned, not by weight
  std::vector<std::string> feedback;  ///< channels, in order
  std::vector<std::string> grid;      ///< axes of the feature grid
  int bins = 10;                      ///< of axes that leave it open
  std::string tune_search = "hill-climb";
  int tune_attempts = 0;  ///< of kernels with `// tune:` lines; 0: only the author's values
  InsightSettings memory;
  std::string guidance;  ///< what all prompts carry at first
  std::vector<RecipeRole> roles;
  std::vector<RecipeOperator> operators;
  std::vector<RecipeRule> rules;
  std::vector<RecipeReflection> reflections;

  const RecipeRole* find_role(const std::string& role) const;
  /// False when the rules alone can go on with it.
  bool needs_model() const;
};

/// Reads and checks a recipe: every name it uses exists, every operator ends in code. Errors:
/// kInput with file and line; unknown keys with a suggestion.
Result<Recipe> parse_recipe(const std::string& text, const std::string& name);

/// Recipes that come with Quern: name and text, by name.
const std::map<std::string, std::string>& built_in_recipes();

std::span<const OperatorCondition> operator_conditions();
/// `attempts`: judged so far.
bool condition_holds(const RecipeOperator& row, const SearchGraph& graph, const Pick& pick,
                     int attempts);
/// Whether a judged node is one to reflect on.
bool reflects_on(const RecipeReflection& row, const SearchNode& node, bool is_best);

}  // namespace quern
