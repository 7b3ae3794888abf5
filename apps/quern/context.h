// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "record/json.h"

namespace quern::cli {

/// Exit codes of every command (DESIGN section 12).
enum ExitCode {
  kImproved = 0,
  kInternalError = 1,
  kUsageError = 2,
  kIncorrect = 3,
  kNoImprovement = 4,
  kEnvironmentError = 5,
  kBudgetExhausted = 6,
  kTimedOut = 7,
  kRejected = 8,
  kInterrupted = 130,
};

/// What a command may know of the process it runs in.
struct Context {
  bool json = false;
  bool terminal = false;  ///< stderr is a terminal that understands cursor movement
  bool color = false;
  std::string program;  ///< path of this executable
  std::string tasks_directory;
  std::string cache_directory;
};

/// Writes to stdout: the result of a command, once.
void print(const std::string& text);
void print_json(const Json& json);
/// Writes to stderr: everything else.
void say(const std::string& text);

/// Reports an error in the form asked for and returns the exit code of its kind.
int fail(const Context& context, const Error& error);

}  // namespace quern::cli
