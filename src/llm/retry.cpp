// SPDX-License-Identifier: Apache-2.0
#include "llm/retry.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>

#include "base/hash.h"
#include "base/strings.h"

namespace quern::llm {
namespace {

constexpr std::array<int, 8> kRetryableStatuses = {408, 409, 429, 500, 502, 503, 504, 529};
constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "Sun, 06 Nov 1994 08:49:37 GMT" in seconds since 1970.
std::optional<int64_t> parse_http_date(std::string_view text) {
  std::vector<std::string> words = split_words(text);
  if (words.size() != 6 || words[5] != "GMT") return std::nullopt;
  std::vector<std::string> clock = split(words[4], ':');
  if (clock.size() != 3) return std::nullopt;
  auto month = std::ranges::find(kMonths, words[2]);
  auto day = number<unsigned>(words[1]);
  auto year = number<int>(words[3]);
  auto h = number<int64_t>(clock[0]), m = number<int64_t>(clock[1]), s = number<int64_t>(clock[2]);
  if (month == kMonths.end() || !day || !year || !h || !m || !s) return std::nullopt;
  std::chrono::year_month_day date{std::chrono::year(*year),
                                   std::chrono::month(unsigned(month - kMonths.begin()) + 1),
                                   std::chrono::day(*day)};
  if (!date.ok() || *h > 23 || *m > 59 || *s > 60) return std::nullopt;
  return std::chrono::sys_days(date).time_since_epoch().count() * int64_t{86400} + *h * 3600 +
         *m * 60 + *s;
}

/// In [0, 1), from a hash.
double fraction_of(uint64_t seed, std::string_view request_hash, int attempt) {
  std::string hex = Hasher()
                        .add(std::to_string(seed))
                        .add(request_hash)
                        .add(std::to_string(attempt))
                        .hex()
                        .substr(0, 13);
  uint64_t bits = 0;
  std::from_chars(hex.data(), hex.data() + hex.size(), bits, 16);
  return static_cast<double>(bits) / static_cast<double>(uint64_t{1} << 52);
}

}  // namespace

FailureKind kind_of_status(int status) {
  if (status == 429 || status == 529) return FailureKind::kOverloaded;
  if (status == 408 || status == 504) return FailureKind::kTimeout;
  return status >= 500 || status == 409 ? FailureKind::kServer : FailureKind::kRejected;
}

bool is_retryable(const Failure& failure) {
  if (failure.status >= 300)
    return std::ranges::find(kRetryableStatuses, failure.status) != kRetryableStatuses.end();
  switch (failure.kind) {
    case FailureKind::kOverloaded:
    case FailureKind::kServer:
    case FailureKind::kConnection:
    case FailureKind::kTimeout:
    case FailureKind::kCut:
    case FailureKind::kMalformed:
      return true;
    default:
      return false;
  }
}

std::optional<double> retry_delay_s(const RetryPolicy& policy, int attempt,
                                    std::string_view request_hash,
                                    std::optional<double> asked_delay_s) {
  if (attempt >= policy.attempts) return std::nullopt;
  if (asked_delay_s && *asked_delay_s > policy.longest_asked_delay_s) return std::nullopt;
  double delay = std::min(policy.longest_delay_s, std::ldexp(policy.first_delay_s, attempt - 1));
  double half = delay / 2;
  double jitter = half * fraction_of(policy.seed, request_hash, attempt);
  // All who were told the same time must not come back at the same time.
  return asked_delay_s ? std::max(half, *asked_delay_s) + jitter : half + jitter;
}

std::optional<double> parse_retry_after(std::string_view value, int64_t now_unix_s) {
  value = trim(value);
  if (auto seconds = number<double>(value); seconds && std::isfinite(*seconds))
    return std::max(0.0, *seconds);
  if (auto date = parse_http_date(value))
    return static_cast<double>(std::max<int64_t>(0, *date - now_unix_s));
  return std::nullopt;
}

}  // namespace quern::llm
