// SPDX-License-Identifier: Apache-2.0
#include "llm/usage.h"

#include <fmt/format.h>

namespace quern::llm {
namespace {

Result<int64_t> count_at(const Json& json, const char* key) {
  auto found = json.is_object() ? json.find(key) : json.end();
  if (!json.is_object() || found == json.end() || !found->is_number_integer() || *found < 0)
    return Error{ErrorKind::kInput, fmt::format("'{}' is not a count", key), ""};
  return found->get<int64_t>();
}

}  // namespace

Spend& Spend::operator+=(const Spend& other) {
  calls += other.calls;
  tokens += other.tokens;
  nano_usd += other.nano_usd;
  return *this;
}

Spend& Spend::operator-=(const Spend& other) {
  calls -= other.calls;
  tokens -= other.tokens;
  nano_usd -= other.nano_usd;
  return *this;
}

Json to_json(const Usage& usage) {
  return {{"input", usage.input},
          {"cache_read", usage.cache_read},
          {"cache_write", usage.cache_write},
          {"output", usage.output},
          {"reasoning", usage.reasoning}};
}

Json to_json(const Spend& spend) {
  return {{"calls", spend.calls}, {"tokens", spend.tokens}, {"nano_usd", spend.nano_usd}};
}

Result<Usage> usage_from_json(const Json& json) {
  Usage usage;
  QUERN_ASSIGN(usage.input, count_at(json, "input"));
  QUERN_ASSIGN(usage.cache_read, count_at(json, "cache_read"));
  QUERN_ASSIGN(usage.cache_write, count_at(json, "cache_write"));
  QUERN_ASSIGN(usage.output, count_at(json, "output"));
  QUERN_ASSIGN(usage.reasoning, count_at(json, "reasoning"));
  return usage;
}

Result<Spend> spend_from_json(const Json& json) {
  Spend spend;
  QUERN_ASSIGN(spend.calls, count_at(json, "calls"));
  QUERN_ASSIGN(spend.tokens, count_at(json, "tokens"));
  QUERN_ASSIGN(spend.nano_usd, count_at(json, "nano_usd"));
  return spend;
}

}  // namespace quern::llm
