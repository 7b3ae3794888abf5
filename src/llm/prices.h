// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "llm/usage.h"
#include "record/json.h"

namespace quern::llm {

/// USD per million tokens.
struct Price {
  double input = 0;
  double cache_read = 0;
  double cache_write = 0;
  double output = 0;
};

/// What models cost, as a table that the user gives (docs/models.md, "Prices"):
///     {"models": {"openai/gpt-x": {"input": 1.25, "cache_read": 0.125, "output": 10},
///                 "lab/*": {"input": 0, "output": 0}}}
/// A name that ends in `*` stands for all that begin so; the longest that fits wins. Where
/// `cache_read` or `cache_write` is missing, `input` holds.
class Prices {
 public:
  /// Errors: kInput, a missing or negative price, an unknown key (with a suggestion).
  static Result<Prices> parse(std::string_view text);
  /// The price of "provider/model". Errors: kUsage, says how to give one.
  Result<Price> find(std::string_view model) const;
  /// Adds the models of an older table; where both have one, the older price stands.
  void keep(const Prices& older);
  /// The table as JSON, to be saved with a run and parsed again by its resume.
  Json snapshot() const;

 private:
  std::map<std::string, Price> models_;
};

/// A limit in USD as a budget takes it, rounded down; negative ones are 0.
int64_t nano_usd(double usd);

/// 10^-9 USD, rounded up.
int64_t cost_nano_usd(const Price& price, const Usage& usage);

/// The most that `input_tokens` and `output_tokens` can cost, whatever the caches do.
int64_t worst_cost_nano_usd(const Price& price, int64_t input_tokens, int64_t output_tokens);

}  // namespace quern::llm
