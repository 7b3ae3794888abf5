// SPDX-License-Identifier: Apache-2.0
#include "llm/prices.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/suggest.h"

namespace quern::llm {
namespace {

struct PriceField {
  std::string_view name;
  double Price::*field;
};
constexpr std::array<PriceField, 4> kFields = {{{"input", &Price::input},
                                                {"cache_read", &Price::cache_read},
                                                {"cache_write", &Price::cache_write},
                                                {"output", &Price::output}}};
constexpr double kDearest = 1e6;  ///< USD per million tokens: beyond it, a slip of the pen

Error bad(const std::string& message, std::string hint = "") {
  return {ErrorKind::kInput, "prices: " + message, std::move(hint)};
}

Result<Price> parse_price(const std::string& model, const Json& json) {
  if (!json.is_object()) return bad(fmt::format("'{}' is not an object", model));
  Price price;
  for (const char* needed : {"input", "output"})
    if (!json.contains(needed)) return bad(fmt::format("'{}' has no '{}'", model, needed));
  price.cache_read = price.cache_write = -1;
  for (const auto& [key, value] : json.items()) {
    auto row = std::ranges::find(kFields, std::string_view(key), &PriceField::name);
    if (row == kFields.end())
      return bad(fmt::format("'{}' has an unknown key '{}'", model, key),
                 did_you_mean(key, {"input", "cache_read", "cache_write", "output"}));
    if (!value.is_number() || !(value.get<double>() >= 0 && value.get<double>() <= kDearest))
      return bad(fmt::format("'{}' of '{}' is not a price in USD per million tokens", key, model));
    price.*(row->field) = value.get<double>();
  }
  if (price.cache_read < 0) price.cache_read = price.input;
  if (price.cache_write < 0) price.cache_write = price.input;
  return price;
}

/// USD per million tokens are 1000 × 10^-9 USD per token. A hair below the next whole number is
/// rounding error of the product, not money.
int64_t rounded_up(double millionths_usd) {
  return static_cast<int64_t>(std::ceil(millionths_usd * 1000 - 1e-6));
}

}  // namespace

Result<Prices> Prices::parse(std::string_view text) {
  QUERN_ASSIGN(Json json, parse_json(text));
  if (!json.is_object() || !json.contains("models") || !json["models"].is_object())
    return bad("the table is an object with an object 'models'");
  Prices prices;
  for (const auto& [model, value] : json["models"].items()) {
    QUERN_ASSIGN(prices.models_[model], parse_price(model, value));
  }
  return prices;
}

Result<Price> Prices::find(std::string_view model) const {
  const Price* best = nullptr;
  size_t length = 0;
  for (const auto& [name, price] : models_) {
    bool prefix = name.ends_with('*') && model.starts_with(name.substr(0, name.size() - 1));
    if (name == model) return price;
    if (prefix && name.size() > length) {
      best = &price;
      length = name.size();
    }
  }
  if (best) return *best;
  return Error{ErrorKind::kUsage, fmt::format("no price is known for the model '{}'", model),
               fmt::format("add it to the price table, in USD per million tokens: "
                           "{{\"models\": {{\"{}\": {{\"input\": …, \"output\": …}}}}}} "
                           "(0 for a model of your own)",
                           model)};
}

void Prices::keep(const Prices& older) {
  for (const auto& [name, price] : older.models_) models_[name] = price;
}

Json Prices::snapshot() const {
  Json models = Json::object();
  for (const auto& [name, price] : models_)
    for (const PriceField& field : kFields)
      models[name][std::string(field.name)] = price.*(field.field);
  return {{"models", models}};
}

int64_t nano_usd(double usd) {
  constexpr double kMost = 1e9;  // more than anybody has, and still a count
  return usd > 0 ? static_cast<int64_t>(std::min(usd, kMost) * 1e9 + 1e-6) : 0;
}

int64_t cost_nano_usd(const Price& price, const Usage& usage) {
  return rounded_up(price.input * static_cast<double>(usage.input) +
                    price.cache_read * static_cast<double>(usage.cache_read) +
                    price.cache_write * static_cast<double>(usage.cache_write) +
                    price.output * static_cast<double>(usage.output));
}

int64_t worst_cost_nano_usd(const Price& price, int64_t input_tokens, int64_t output_tokens) {
  double dearest = std::max({price.input, price.cache_read, price.cache_write});
  return rounded_up(dearest * static_cast<double>(input_tokens) +
                    price.output * static_cast<double>(output_tokens));
}

}  // namespace quern::llm
