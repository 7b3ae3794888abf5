// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "llm/message.h"

namespace quern::llm {

/// When and how long to wait before a failed exchange is tried again.
struct RetryPolicy {
  int attempts = 6;                    ///< in all; 1: never again
  double first_delay_s = 0.5;          ///< doubled with every attempt
  double longest_delay_s = 30;         ///< of our own choosing
  double longest_asked_delay_s = 600;  ///< a server that asks for more than this is given up
  uint64_t seed = 0;                   ///< of the jitter
};

/// Worth another attempt: 408, 409, 429, 5xx that pass, overload, timeouts, cut and garbled
/// streams.
bool is_retryable(const Failure& failure);

/// What an HTTP status says of a failed exchange.
FailureKind kind_of_status(int status);

/// Seconds to wait after failed attempt number `attempt` (from 1): exponential, of which the upper
/// half is random, and never less than the server asked for. Nothing: give up. The same
/// `request_hash`, attempt and seed wait the same time.
std::optional<double> retry_delay_s(const RetryPolicy& policy, int attempt,
                                    std::string_view request_hash,
                                    std::optional<double> asked_delay_s);

/// Reads `retry-after`: seconds, or an HTTP date (RFC 9110 §5.6.7, its preferred form) seen at
/// `now_unix_s`. Nothing when it is neither. Never negative.
std::optional<double> parse_retry_after(std::string_view value, int64_t now_unix_s);

}  // namespace quern::llm
