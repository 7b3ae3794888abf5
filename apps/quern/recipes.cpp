// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/file.h"
#include "base/strings.h"
#include "base/suggest.h"
#include "commands.h"
#include "search/recipe.h"
#include "search/score.h"
#include "wiring.h"

namespace quern::cli {
namespace {

std::string explain(const Recipe& recipe, const std::string& text) {
  std::string out = fmt::format("{}: {}\n  source    {}\n  faithful  {}\n", recipe.name,
                                recipe.title, recipe.source, recipe.faithful);
  if (!recipe.in_style.empty()) out += fmt::format("  in style  {}\n", recipe.in_style);
  for (const SelectorInfo& row : selectors()) {
    if (recipe.selector != row.name) continue;
    out += fmt::format("  selector  {}: {}\n", row.name, row.definition);
    for (const SelectorParameter& parameter : row.parameters) {
      const auto set = recipe.settings.numbers.find(parameter.name);
      out += fmt::format("            {} = {} ({})\n", parameter.name,
                         set == recipe.settings.numbers.end() ? parameter.value : set->second,
                         parameter.meaning);
    }
  }
  if (const auto rule = find_score_rule(recipe.score)) {
    out += fmt::format("  score     {}: {}\n", (*rule)->name, (*rule)->definition);
  }
  for (const RecipeOperator& row : recipe.operators) {
    out +=
        fmt::format("  operator  {} when {}: {}\n", row.name, row.when, join(row.roles, ", then "));
  }
  return out + "\n" + text;
}

Result<int> show(const Context& context, const std::string& name) {
  QUERN_ASSIGN(std::string text, recipe_text(name));
  QUERN_ASSIGN(const Recipe recipe, parse_recipe(text, recipe_name(name)));
  if (context.json) {
    print_json({{"name", recipe.name},
                {"title", recipe.title},
                {"source", recipe.source},
                {"faithful", recipe.faithful},
                {"in_style", recipe.in_style},
                {"selector", recipe.selector},
                {"text", text}});
  } else {
    print(explain(recipe, text));
  }
  return kImproved;
}

Result<int> list(const Context& context) {
  Json rows = Json::array(
      {{{"name", "rules"}, {"title", "the built-in rules and their search; needs no model"}}});
  for (const auto& [name, text] : built_in_recipes()) {
    QUERN_ASSIGN(const Recipe recipe, parse_recipe(text, name));
    rows.push_back({{"name", name}, {"title", recipe.title}, {"source", recipe.source}});
  }
  if (context.json) {
    print_json({{"recipes", rows}});
    return kImproved;
  }
  std::string text;
  for (const Json& row : rows) {
    text +=
        fmt::format("{:<14} {}\n", row["name"].get<std::string>(), row["title"].get<std::string>());
  }
  print(text);
  return kImproved;
}

}  // namespace

Action add_recipes(CLI::App& app) {
  auto name = std::make_shared<std::string>();
  app.add_option("NAME", *name, "A recipe's name, or the path of a .toml file");
  return [=](const Context& context) {
    const Result<int> code = name->empty() ? list(context) : show(context, *name);
    return code ? *code : fail(context, code.error());
  };
}

}  // namespace quern::cli
