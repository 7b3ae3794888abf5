// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace quern {

/// What kind of failure an `Error` is; the command line maps each kind to an exit code.
enum class ErrorKind {
  kUsage,        ///< the caller asked for something that does not exist or makes no sense
  kInput,        ///< a task, candidate or data file is malformed
  kEnvironment,  ///< this machine lacks something: a tool, memory, disk, permission
  kBusy,         ///< somebody else holds what we need (a run directory, a device)
  kInterrupted,  ///< the user stopped us
  kInternal,     ///< a broken expectation of ours that input could reach; a bug
};

/// A failure of the world (not of a candidate: that is a `Verdict`; not a bug: that is an abort).
/// `message` says what, where and why; `hint`, if any, says what to do next.
struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  std::string message;
  std::string hint;
};

/// Either a value or an `Error`, with the names of `std::expected`.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & {
    QUERN_CHECK(has_value(), "value() of a Result that holds an error");
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    QUERN_CHECK(has_value(), "value() of a Result that holds an error");
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    QUERN_CHECK(has_value(), "value() of a Result that holds an error");
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    QUERN_CHECK(!has_value(), "error() of a Result that holds a value");
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

/// Success without a value, or an `Error`.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}

  bool has_value() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const {
    QUERN_CHECK(!ok_, "error() of a Result that holds a value");
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace quern

/// Returns the error of a `Result` expression from the enclosing function; else goes on.
#define QUERN_TRY(expression)                                      \
  do {                                                             \
    if (auto quern_try_result = (expression); !quern_try_result) { \
      return ::quern::Error(quern_try_result.error());             \
    }                                                              \
  } while (false)

#define QUERN_CONCAT_INNER(a, b) a##b
#define QUERN_CONCAT(a, b) QUERN_CONCAT_INNER(a, b)

/// `QUERN_ASSIGN(auto x, f());` binds the value of a `Result`, or returns its error.
#define QUERN_ASSIGN(declaration, expression)                             \
  auto QUERN_CONCAT(quern_result_, __LINE__) = (expression);              \
  if (!QUERN_CONCAT(quern_result_, __LINE__)) {                           \
    return ::quern::Error(QUERN_CONCAT(quern_result_, __LINE__).error()); \
  }                                                                       \
  declaration = std::move(QUERN_CONCAT(quern_result_, __LINE__)).value()
