// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "llm/agent_client.h"
#include "llm/budget.h"
#include "llm/cassette.h"
#include "llm/http_client.h"
#include "llm/structured.h"

namespace quern::llm {

/// The models of one run, with everything that a run keeps in its directory: `budget.jsonl` (every
/// reservation and what became of it), `prices.json` (the table used), `exchanges.jsonl` (what was
/// asked and answered; a cassette).
class Models {
 public:
  /// Begins a run in `directory`, or goes on with the one there: with what it has spent, at the
  /// prices it began with, answering from its exchanges as far as they go. budgets in
  /// the options are ignored; `agents` says how models named "agent:CMD" are run, without it they
  /// are refused. Errors: files of the run that are damaged or cannot be written.
  static Result<std::unique_ptr<Models>> open(const std::string& directory, BudgetLimits limits,
                                              HttpClientOptions options,
                                              std::optional<AgentClientOptions> agents = {});
  /// The exchanges of a run again, without network, files unchanged; `budget` says what they cost.
  static Result<std::unique_ptr<Models>> replay(const std::string& directory);

  /// Ends the calls under way first.
  ~Models() = default;

  /// Checks replies (llm/structured.h), records, keeps to the budget. Thread-safe.
  Client& client() { return *checked_; }
  const Budget& budget() const { return *budget_; }

 private:
  Models() = default;

  // Ended from the last to the first: calls end with `http_` and `agents_`, and tell the cassette.
  std::unique_ptr<Budget> budget_;
  std::unique_ptr<Cassette> cassette_;
  std::unique_ptr<CheckedClient> checked_;
  std::unique_ptr<HttpClient> http_;
  std::unique_ptr<AgentClient> agents_;
  std::unique_ptr<RoutingClient> routing_;
};

}  // namespace quern::llm
