// SPDX-License-Identifier: Apache-2.0
#include "llm/models.h"

#include <utility>

#include "base/file.h"

namespace quern::llm {
namespace {

constexpr const char* kBudget = "/budget.jsonl";
constexpr const char* kPrices = "/prices.json";
constexpr const char* kExchanges = "/exchanges.jsonl";

/// Keeps the prices that a run began with; a resume may add models.
Result<void> settle_prices(const std::string& path, Prices& prices) {
  if (file_exists(path)) {
    QUERN_ASSIGN(std::string text, read_file(path));
    QUERN_ASSIGN(Prices older, Prices::parse(text));
    prices.keep(older);
  }
  return write_file_atomic(path, dump(prices.snapshot(), 1) + "\n");
}

}  // namespace

Result<std::unique_ptr<Models>> Models::open(const std::string& directory, BudgetLimits limits,
                                             HttpClientOptions options,
                                             std::optional<AgentClientOptions> agents) {
  std::unique_ptr<Models> models(new Models);
  std::string exchanges = directory + kExchanges;
  QUERN_TRY(make_directories(directory));
  QUERN_TRY(settle_prices(directory + kPrices, options.prices));
  QUERN_ASSIGN(models->budget_, Budget::open(directory + kBudget, limits));
  options.budget = models->budget_.get();
  models->http_ = std::make_unique<HttpClient>(std::move(options));
  Client* asked = models->http_.get();
  if (agents) {
    agents->budget = models->budget_.get();
    models->agents_ = std::make_unique<AgentClient>(std::move(*agents));
    models->routing_ = std::make_unique<RoutingClient>(*models->agents_, *models->http_);
    asked = models->routing_.get();
  }
  QUERN_ASSIGN(models->cassette_, file_exists(exchanges) ? Cassette::resume(exchanges, *asked)
                                                         : Cassette::record(exchanges, *asked));
  models->checked_ = std::make_unique<CheckedClient>(*models->cassette_);
  return models;
}

Result<std::unique_ptr<Models>> Models::replay(const std::string& directory) {
  std::unique_ptr<Models> models(new Models);
  models->budget_ = std::make_unique<Budget>(BudgetLimits{});
  QUERN_ASSIGN(models->cassette_, Cassette::replay(directory + kExchanges, models->budget_.get()));
  models->checked_ = std::make_unique<CheckedClient>(*models->cassette_);
  return models;
}

}  // namespace quern::llm
