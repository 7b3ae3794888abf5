// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/file.h"
#include "llm/usage.h"
#include "record/json.h"

namespace quern::llm {

/// Limits of a run; nothing: no limit of that kind.
struct BudgetLimits {
  std::optional<int64_t> calls;
  std::optional<int64_t> tokens;
  std::optional<int64_t> nano_usd;
};

/// A hard budget: the worst a call can cost is reserved before it is sent and corrected after, so
/// that what was spent never exceeds a limit, whatever order calls end in. Reservations of calls
/// that were under way when the process was killed count as spent. Thread-safe.
class Budget {
 public:
  /// Names a reservation.
  using Id = uint64_t;

  explicit Budget(BudgetLimits limits) : limits_(limits) {}
  /// A budget that writes every step to the file `path` before it takes effect, and goes on from
  /// what the file says. Limits are those given now. Errors: a file that cannot be read or written
  /// or is none of ours.
  static Result<std::unique_ptr<Budget>> open(const std::string& path, BudgetLimits limits);

  /// Errors: kBusy with what is left and what would be needed; kEnvironment, the file.
  Result<Id> reserve(const Spend& worst);
  /// Ends a reservation. What exceeds it is not counted: the reservation is the worst case.
  void settle(Id id, const Spend& actual);
  /// Counts what was spent elsewhere (a replayed call), without asking.
  void charge(const Spend& actual);

  BudgetLimits limits() const { return limits_; }
  Spend spent() const;
  Spend reserved() const;
  /// How often a reservation was refused for a limit.
  int64_t refused() const;
  /// True when `worst` would fit once every reservation is given back.
  bool may_fit_later(const Spend& worst) const;

  /// {"limits": {…}, "spent": {…}, "reserved": {…}}.
  Json to_json() const;
  /// What a saved state had spent or reserved counts as spent. Errors: kInput.
  static Result<std::unique_ptr<Budget>> from_json(const Json& json);

 private:
  bool fits(const Spend& worst) const;
  Result<void> write(const Json& line);
  Result<void> replay(const std::string& text);

  const BudgetLimits limits_;
  mutable std::mutex mutex_;
  Spend spent_;
  Spend reserved_;
  int64_t refused_ = 0;
  std::map<Id, Spend> open_;
  Id next_ = 1;
  FileDescriptor journal_;
  int64_t size_ = 0;  ///< of the journal, in bytes
  std::string path_;
};

/// A reservation that is spent in full unless it is settled.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Budget& budget, Budget::Id id, const Spend& worst)
      : budget_(&budget), id_(id), worst_(worst) {}
  Reservation(Reservation&& other) noexcept { *this = std::move(other); }
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation() { settle(worst_); }

  const Spend& worst() const { return worst_; }
  /// The first call counts.
  void settle(const Spend& actual);

 private:
  Budget* budget_ = nullptr;
  Budget::Id id_ = 0;
  Spend worst_;
};

}  // namespace quern::llm
