// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "record/json.h"

namespace quern::llm {

/// Tokens of one exchange, in the same sense for every provider: the three kinds of input exclude
/// each other, and `reasoning` is a part of `output`.
struct Usage {
  int64_t input = 0;        ///< input that no cache helped with
  int64_t cache_read = 0;   ///< input served from the provider's prompt cache
  int64_t cache_write = 0;  ///< input written to that cache (billed apart by some)
  int64_t output = 0;       ///< everything the model wrote, thoughts included
  int64_t reasoning = 0;    ///< thoughts

  int64_t all_input() const { return input + cache_read + cache_write; }
  int64_t total() const { return all_input() + output; }
  bool operator==(const Usage&) const = default;
};

/// What calls cost, in the units a budget limits. Money is in 10^-9 USD, rounded up.
struct Spend {
  int64_t calls = 0;
  int64_t tokens = 0;
  int64_t nano_usd = 0;

  Spend& operator+=(const Spend& other);
  Spend& operator-=(const Spend& other);
  bool operator==(const Spend&) const = default;
};

Json to_json(const Usage& usage);
Json to_json(const Spend& spend);
/// Errors: kInput when a field is missing, no integer, or negative.
Result<Usage> usage_from_json(const Json& json);
Result<Spend> spend_from_json(const Json& json);

}  // namespace quern::llm
