// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>
#include <string>

#include "propose/tuner.h"
#include "search/recipe.h"
#include "search/recipe_prompts.h"
#include "search/select_advised.h"
#include "search/select_frontier.h"

/// Any bytes are a recipe, or refused with a message; and whatever a model may write is taken for
/// what it is worth.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto recipe = quern::parse_recipe(text, "fuzz");
  if (!recipe && recipe.error().message.empty()) std::abort();
  quern::HypothesisTree tree;
  quern::apply_tree_edits(tree, text);
  for (int id = 1; id < tree.size(); ++id) {
    if (tree.node(id).parent < 0 || tree.node(id).parent >= id) std::abort();
  }
  if (quern::chosen_experiments(quern::parse_experiments(text)).size() > 3) std::abort();
  quern::named_number(text, "base");
  quern::list_items(text);
  if (!(quern::expected_speed(text) >= 0)) std::abort();
  const auto kernel = quern::parse_template(text);
  if (!kernel) return 0;
  const std::vector<size_t> first(kernel->parameters.size(), 0);
  const auto again = quern::parse_template(kernel->instance(first));
  if (!again || again->instance(first) != kernel->instance(first)) std::abort();
  return 0;
}
