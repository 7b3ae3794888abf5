// SPDX-License-Identifier: Apache-2.0
#include "models.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "base/file.h"
#include "llm/budget.h"
#include "llm/cassette.h"
#include "llm/http_client.h"

namespace quern::cli {
namespace {

/// What `--models` holds: {"providers": {…}, "models": {…prices…}}.
struct Settings {
  llm::Providers providers;
  llm::Prices prices;
};

Result<Settings> parse_settings(const std::string& text) {
  Settings settings;
  if (text.empty()) return settings;
  QUERN_ASSIGN(Json json, parse_json(text));
  if (!json.is_object()) {
    return Error{ErrorKind::kInput, "the settings of models are to be a JSON object",
                 "see docs/models.md"};
  }
  if (json.contains("providers")) {
    QUERN_TRY(settings.providers.add_all(json["providers"]));
    json.erase("providers");
  }
  QUERN_ASSIGN(settings.prices, llm::Prices::parse(json.empty() ? R"({"models": {}})" : json.dump()));
  return settings;
}

std::optional<std::string> environment_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

llm::BudgetLimits limits_of(const RunOptions& options) {
  llm::BudgetLimits limits;
  if (options.budget_calls > 0) limits.calls = static_cast<int64_t>(options.budget_calls);
  if (options.budget_tokens > 0) limits.tokens = static_cast<int64_t>(options.budget_tokens);
  if (options.budget_usd > 0) limits.nano_usd = std::llround(options.budget_usd * 1e9);
  return limits;
}

class RunModels : public Models {
 public:
  llm::Client& client() override { return *cassette_; }
  std::string spent() const override {
    const llm::Spend spend = budget_->spent();
    return fmt::format("{} calls, {} tokens, ${:.4f}", spend.calls, spend.tokens,
                       static_cast<double>(spend.nano_usd) * 1e-9);
  }

  std::unique_ptr<llm::Budget> budget_;
  std::unique_ptr<llm::HttpClient> http_;
  std::unique_ptr<llm::Cassette> cassette_;
};

}  // namespace

Result<std::string> read_model_settings(const std::string& path, const std::string& model) {
  std::string text;
  if (!path.empty()) {
    QUERN_ASSIGN(text, read_file(path));
  }
  QUERN_ASSIGN(const Settings settings, parse_settings(text));
  QUERN_TRY(settings.providers.find(model));
  return text;
}

Result<std::unique_ptr<Models>> Models::open(const RunOptions& options,
                                             const std::string& directory) {
  auto models = std::make_unique<RunModels>();
  QUERN_ASSIGN(Settings settings, parse_settings(options.models_text));
  QUERN_ASSIGN(models->budget_,
               llm::Budget::open(directory + "/spending.jsonl", limits_of(options)));
  llm::HttpClientOptions http;
  http.providers = std::move(settings.providers);
  http.prices = std::move(settings.prices);
  http.environ = environment_variable;
  http.budget = models->budget_.get();
  http.retry.seed = options.seed;
  models->http_ = std::make_unique<llm::HttpClient>(std::move(http));
  const std::string path = directory + "/cassette.jsonl";
  QUERN_ASSIGN(models->cassette_, file_exists(path)
                                      ? llm::Cassette::resume(path, *models->http_)
                                      : llm::Cassette::record(path, *models->http_));
  return std::unique_ptr<Models>(std::move(models));
}

}  // namespace quern::cli
