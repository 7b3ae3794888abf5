// SPDX-License-Identifier: Apache-2.0
#include "model_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/strings.h"
#include "base/suggest.h"
#include "llm/agent_client.h"
#include "models.h"
#include "search/recipe.h"
#include "wiring.h"

namespace quern::cli {
namespace {

/// The templates of the run. Every one that the recipe asks for is there, and every one of the
/// folder is Quern's own or asked for.
Result<std::string> choose_prompts(const std::string& folder, const Recipe& recipe) {
  QUERN_ASSIGN(const Prompts own, Prompts::make());
  QUERN_ASSIGN(const Prompts chosen, Prompts::make(folder));
  std::vector<std::string> known = own.names();
  for (const RecipeRole& role : recipe.roles) {
    known.push_back(role.prompt);
    if (chosen.has(role.prompt)) continue;
    std::string hint = did_you_mean(role.prompt, chosen.names());
    if (hint.empty())
      hint = fmt::format("write {}.mustache, and name its folder with --prompts", role.prompt);
    return Error{ErrorKind::kUsage,
                 fmt::format("the role {} of the recipe {} asks for the prompt '{}', which is "
                             "neither Quern's own nor in {}",
                             role.name, recipe.name, role.prompt,
                             folder.empty() ? "a folder of yours" : folder),
                 hint};
  }
  for (const std::string& name : chosen.names()) {
    if (std::ranges::count(known, name) > 0) continue;
    std::string hint = did_you_mean(name, known);
    if (hint.empty()) hint = fmt::format("Quern's own: {}", join(own.names(), ", "));
    return Error{ErrorKind::kUsage,
                 fmt::format("nobody asks for the prompt '{}' of {}", name, folder), hint};
  }
  return chosen.text();
}

bool asks_agent(const std::string& model, const Recipe& recipe) {
  return llm::is_agent(model) || std::ranges::any_of(recipe.roles, [](const RecipeRole& role) {
           return llm::is_agent(role.model);
         });
}

Result<void> choose_model(const ModelArguments& arguments, const Recipe& recipe,
                          RunOptions& options) {
  options.model =
      arguments.agent.empty() ? arguments.model : std::string(llm::kAgentPrefix) + arguments.agent;
  if (!arguments.agent.empty() && !arguments.model.empty()) {
    return Error{ErrorKind::kUsage, "--agent and --model both say who is asked",
                 "give one of them, and the other to a role in the recipe (model = \"…\")"};
  }
  std::vector<std::string> names = {options.model};
  for (const RecipeRole& role : recipe.roles) {
    if (!role.model.empty()) names.push_back(role.model);
  }
  const bool all_named =
      std::ranges::all_of(recipe.roles, [](const RecipeRole& role) { return !role.model.empty(); });
  if (options.model.empty() && (!all_named || recipe.roles.empty())) {
    return Error{ErrorKind::kUsage, fmt::format("the recipe {} asks a model", options.recipe),
                 "name one with --model PROVIDER/MODEL (openai/…, anthropic/…, or a server of your "
                 "own: docs/models.md), or a coding agent with --agent 'CMD'; `--recipe rules` "
                 "needs neither"};
  }
  std::erase(names, "");
  QUERN_ASSIGN(options.models_text, read_model_settings(arguments.models, names));
  if (asks_agent(options.model, recipe) &&
      (arguments.limits.tokens > 0 || arguments.limits.usd > 0)) {
    return Error{ErrorKind::kUsage, "what an agent spends cannot be limited: it is not known here",
                 "limit its calls with --max-calls and its time with --agent-time; the rest is the "
                 "agent's own to limit"};
  }
  return {};
}

}  // namespace

void add_limit_options(CLI::App& app, ModelLimits& limits) {
  app.add_option("--max-calls", limits.calls, "Calls of models at most [no limit]");
  app.add_option("--max-tokens", limits.tokens, "Tokens at most [no limit]");
  app.add_option("--max-usd", limits.usd, "US dollars at most [no limit]");
}

void add_model_options(CLI::App& app, ModelArguments& arguments) {
  app.add_option("--model", arguments.model,
                 "Model that a recipe asks: PROVIDER/MODEL (openai/…, anthropic/…, or a server of "
                 "--models)");
  app.add_option(
      "--models", arguments.models,
      "Servers, and prices in USD per million tokens, a JSON file: {\"providers\": "
      "{\"lab\": {\"base_url\": \"http://host:8000/v1\", \"api_key_env\": \"LAB_KEY\"}}, "
      "\"models\": {\"lab/*\": {\"input\": 1, \"output\": 2}}}");
  app.add_option("--prompts", arguments.prompts,
                 "Folder of NAME.mustache templates that take the place of Quern's");
  app.add_option("--agent", arguments.agent,
                 "Command of a coding agent that is asked in place of a model");
  app.add_option("--agent-env", arguments.agent_env,
                 "Environment variables that the agent is given, by name");
  app.add_option("--agent-writes", arguments.agent_writes,
                 "Files and folders that the agent may write, beside its own folder");
  app.add_option("--agent-time", arguments.agent_s, "Seconds that one call of the agent may take")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_limit_options(app, arguments.limits);
}

void set_limits(const ModelLimits& limits, RunOptions& options) {
  if (limits.calls > 0) options.budget_calls = limits.calls;
  if (limits.tokens > 0) options.budget_tokens = limits.tokens;
  if (limits.usd > 0) options.budget_usd = limits.usd;
}

Result<void> choose_recipe(const std::string& name, const ModelArguments& arguments,
                           RunOptions& options) {
  const bool nobody = arguments.model.empty() && arguments.agent.empty();
  std::string chosen = name;
  if (name.empty()) chosen = arguments.agent.empty() ? "quern" : "agent";
  options.recipe = recipe_name(chosen);
  if (chosen == "rules") {
    if (nobody && arguments.prompts.empty()) return {};
    return Error{ErrorKind::kUsage, "the rules ask no model",
                 "choose a recipe with --recipe (see: quern recipes), or leave --model and "
                 "--prompts out"};
  }
  QUERN_ASSIGN(options.recipe_text, recipe_text(chosen));
  QUERN_ASSIGN(const Recipe recipe, parse_recipe(options.recipe_text, options.recipe));
  if (nobody && arguments.prompts.empty() && !recipe.needs_model()) {
    // All that is left of it without a model.
    options.recipe = "rules";
    options.recipe_text.clear();
    return {};
  }
  QUERN_TRY(choose_model(arguments, recipe, options));
  QUERN_ASSIGN(options.prompts_text, choose_prompts(arguments.prompts, recipe));
  options.agent_env = arguments.agent_env;
  options.agent_writes = arguments.agent_writes;
  options.agent_s = arguments.agent_s;
  set_limits(arguments.limits, options);
  return {};
}

}  // namespace quern::cli
