// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "record/timing.h"

namespace quern {

/// Outcome classes of one candidate. A verdict is data about the candidate, never about our
/// machine. Only `Passed` holds timings. `reason` is one sentence; `evidence` has the details a
/// proposer learns from: a compiler message, an address, the worst mismatches.
struct CompileFailed {
  std::string reason, evidence;
};
struct LaunchFailed {  ///< built, but cannot be loaded or called (entry point missing, bad plan)
  std::string reason, evidence;
};
struct Crashed {
  std::string reason, evidence;
  int signal = 0;
};
struct TimedOut {
  std::string reason, evidence;
  double limit_s = 0;
};
struct WrongResult {
  std::string reason, evidence;
};
/// A named cheat or breach of policy: "file_access", "network", "fork", "modified_input",
/// "out_of_bounds_write", "stale_output", "early_done", "physics_floor", ….
struct Rejected {
  std::string breach, reason, evidence;
};
struct Passed {
  std::string level;   ///< "V0", "V1", "V2": DESIGN section 7
  std::string method;  ///< what the level rests on, in a sentence
  Timing timing;
};

using Verdict =
    std::variant<CompileFailed, LaunchFailed, Crashed, TimedOut, WrongResult, Rejected, Passed>;

/// "compile_failed", …, "passed": the spelling in JSON and SQL.
std::string_view verdict_name(const Verdict& verdict);
std::string verdict_reason(const Verdict& verdict);    ///< "" for Passed
std::string verdict_evidence(const Verdict& verdict);  ///< "" for Passed
inline bool passed(const Verdict& verdict) { return std::holds_alternative<Passed>(verdict); }
const Timing* timing_of(const Verdict& verdict);  ///< null unless passed

/// Why a stage made no value, for the stage that called it to return.
struct Stopped {
  std::variant<Verdict, Error> why;
};

/// Result of an evaluation stage: a value, the candidate's verdict, or an error of ours.
template <class T>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Outcome(Verdict verdict) : state_(std::in_place_index<1>, std::move(verdict)) {}
  Outcome(Error error) : state_(std::in_place_index<2>, std::move(error)) {}
  Outcome(const Stopped& stopped)
      : Outcome(std::holds_alternative<Error>(stopped.why)
                    ? Outcome(std::get<Error>(stopped.why))
                    : Outcome(std::get<Verdict>(stopped.why))) {}

  bool has_value() const { return state_.index() == 0; }
  bool has_verdict() const { return state_.index() == 1; }
  bool has_error() const { return state_.index() == 2; }
  explicit operator bool() const { return has_value(); }
  T& value() {
    QUERN_CHECK(has_value(), "value() of an Outcome without one");
    return *std::get_if<0>(&state_);
  }
  const T& value() const {
    QUERN_CHECK(has_value(), "value() of an Outcome without one");
    return *std::get_if<0>(&state_);
  }
  T& operator*() { return value(); }
  T* operator->() { return &value(); }
  const Verdict& verdict() const {
    QUERN_CHECK(has_verdict(), "verdict() of an Outcome without one");
    return *std::get_if<1>(&state_);
  }
  const Error& error() const {
    QUERN_CHECK(has_error(), "error() of an Outcome without one");
    return *std::get_if<2>(&state_);
  }

 private:
  std::variant<T, Verdict, Error> state_;
};

/// Success of a stage that makes nothing.
struct Done {};

/// The verdict or the error of a stage without a value.
template <class T>
Stopped pass_on(const Outcome<T>& outcome) {
  if (outcome.has_error()) return {outcome.error()};
  return {outcome.verdict()};
}

}  // namespace quern
