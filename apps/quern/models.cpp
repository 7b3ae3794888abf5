// SPDX-License-Identifier: Apache-2.0
#include "models.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "agent_folder.h"
#include "base/file.h"

namespace quern::cli {
namespace {

struct Settings {
  llm::Providers providers;
  llm::Prices prices;
};

Result<Settings> parse_settings(const std::string& text) {
  Settings settings;
  Json json = Json::object();
  if (!text.empty()) {
    QUERN_ASSIGN(json, parse_json(text));
  }
  if (!json.is_object()) {
    return Error{ErrorKind::kInput, "the settings of models are to be a JSON object",
                 "see docs/models.md"};
  }
  if (json.contains("providers")) {
    QUERN_TRY(settings.providers.add_all(json["providers"]));
    json.erase("providers");
  }
  if (!json.contains("models")) json["models"] = Json::object();
  QUERN_ASSIGN(settings.prices, llm::Prices::parse(json.dump()));
  return settings;
}

std::optional<std::string> environment_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

}  // namespace

Result<std::string> read_model_settings(const std::string& path,
                                        const std::vector<std::string>& models) {
  std::string text;
  if (!path.empty()) {
    QUERN_ASSIGN(text, read_file(path));
  }
  QUERN_ASSIGN(const Settings settings, parse_settings(text));
  for (const std::string& model : models) {
    if (!llm::is_agent(model)) QUERN_TRY(settings.providers.find(model));
  }
  return text;
}

Result<std::unique_ptr<llm::Models>> open_models(const Context& context, const RunOptions& options,
                                                 const TaskAtSize& task,
                                                 const std::string& directory) {
  QUERN_ASSIGN(Settings settings, parse_settings(options.models_text));
  llm::BudgetLimits limits;
  if (options.budget_calls > 0) limits.calls = static_cast<int64_t>(options.budget_calls);
  if (options.budget_tokens > 0) limits.tokens = static_cast<int64_t>(options.budget_tokens);
  if (options.budget_usd > 0) limits.nano_usd = std::llround(options.budget_usd * 1e9);
  llm::HttpClientOptions http;
  http.providers = std::move(settings.providers);
  http.prices = std::move(settings.prices);
  http.environ = environment_variable;
  http.retry.seed = options.seed;
  QUERN_ASSIGN(llm::AgentClientOptions agents, agent_options(context, options, task, directory));
  return llm::Models::open(directory, limits, std::move(http), std::move(agents));
}

std::string spent_text(const llm::Spend& spend) {
  return fmt::format("{} calls, {} tokens, ${:.4f}", spend.calls, spend.tokens,
                     static_cast<double>(spend.nano_usd) * 1e-9);
}

}  // namespace quern::cli
