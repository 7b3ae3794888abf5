// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "llm/budget.h"
#include "llm/client.h"
#include "llm/http.h"
#include "llm/prices.h"
#include "llm/providers.h"
#include "llm/retry.h"

namespace quern::llm {

struct HttpClientOptions {
  Providers providers;
  Prices prices;
  Environ environ;           ///< reads keys and base URLs; called on the thread that starts a call
  Budget* budget = nullptr;  ///< outlives the client
  RetryPolicy retry;
  Timeouts timeouts;  ///< of each attempt
  int most_at_once = 256;
};

/// Asks models over HTTP. Every attempt reserves its worst case in the budget before it is sent.
/// An attempt that the server turned away with an error status is not charged; one that may have
/// been billed without our learning for how much (cut, silent, garbled, cancelled, 504, no usage or
/// impossible usage) is charged its worst case. The destructor cancels what is under way.
class HttpClient : public Client {
 public:
  explicit HttpClient(HttpClientOptions options);
  ~HttpClient() override;
  void start(Request request, CallControl control, std::function<void(Answer)> done) override;

 private:
  class Call;
  HttpClientOptions options_;
  HttpTransport transport_;
};

/// More tokens than the request's input can be: a token is at least one byte of what is sent.
int64_t most_input_tokens(const Json& body);

}  // namespace quern::llm
