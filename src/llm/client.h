// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <future>
#include <stop_token>
#include <string_view>

#include "llm/message.h"

namespace quern::llm {

/// What a caller may hold on to while a call is under way.
struct CallControl {
  std::stop_token stop;  ///< a stop ends the call with kCancelled
  /// Told what the model writes, as it comes; the text starts anew with every attempt (from 1). On
  /// the network's thread: be quick.
  std::function<void(int attempt, std::string_view text)> on_text;
};

/// Asks models. Thread-safe; any number of calls may be under way.
class Client {
 public:
  virtual ~Client() = default;

  /// `done` is told once: perhaps before `start` returns, perhaps later on the network's thread,
  /// where it may start other calls but not wait for them.
  virtual void start(Request request, CallControl control, std::function<void(Answer)> done) = 0;

  /// The answer when it comes.
  std::future<Answer> ask(Request request, CallControl control = {});
};

}  // namespace quern::llm
