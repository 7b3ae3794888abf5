// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "search/select.h"
#include "search/view.h"

namespace quern {

/// What a model's reply is taken for.
enum class RoleOutput { kCode, kEdits, kText };

/// One kind of call to a model.
struct RecipeRole {
  std::string name;
  std::string prompt;  ///< template (prompts/NAME.mustache); default: the role's name
  RoleOutput output = RoleOutput::kCode;
  View view;
  std::optional<double> temperature;
  std::string model;  ///< "": the run's
};

/// When an operator applies, by the node that was picked.
struct OperatorCondition {
  const char* name;
  const char* meaning;
};

/// A chain of roles that makes one candidate: what one writes is shown to those after it, the last
/// writes code or edits.
struct RecipeOperator {
  std::string name;
  std::string when = "any";
  double weight = 1;  ///< among operators that apply: one is drawn in proportion
  std::vector<std::string> roles;
};

/// A search method as data (recipes/NAME.toml; docs/recipes.md).
struct Recipe {
  std::string name;
  std::string title, source, faithful, in_style;
  std::string score = "speedup", gain = "share-saved";
  std::string accept = "always";
  double accept_factor = 1;
  std::string selector;
  SelectorSettings settings;
  int repairs = 0;  ///< a failed node is repaired so often at once, before the selector is asked
  int width = 1;    ///< picks under way at once
  std::vector<RecipeRole> roles;
  std::vector<RecipeOperator> operators;

  const RecipeRole* find_role(const std::string& role) const;
};

/// Reads and checks a recipe: every name it uses exists, every operator ends in code. Errors:
/// kInput with file and line; unknown keys with a suggestion.
Result<Recipe> parse_recipe(const std::string& text, const std::string& name);

/// Recipes that come with Quern: name and text, by name.
const std::map<std::string, std::string>& built_in_recipes();

std::span<const OperatorCondition> operator_conditions();
bool condition_holds(const std::string& condition, const SearchGraph& graph, const Pick& pick);

}  // namespace quern
