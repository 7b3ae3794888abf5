// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "llm/client.h"
#include "propose/proposer.h"
#include "search/replay.h"

namespace quern {

/// A call to a model, as a recipe labelled it.
struct CreditCall {
  int node = 0;
  std::string made_by, strategy, role, model, view;
  llm::Spend spend;
};

/// Passes calls on and remembers what they were for and what they cost. `inner` answers before it
/// returns, as a cassette does that replays.
class CallLog : public llm::Client {
 public:
  /// `inner` outlives it.
  explicit CallLog(llm::Client& inner) : inner_(inner) {}
  void start(llm::Request request, llm::CallControl control,
             std::function<void(llm::Answer)> done) override;

  const std::vector<CreditCall>& calls() const { return calls_; }
  llm::Spend spent() const;

 private:
  llm::Client& inner_;
  std::vector<CreditCall> calls_;
};

/// What one name of a kind was paid and what it brought.
struct CreditRow {
  std::string kind;  ///< "operator", "strategy", "role", "model", "view"
  std::string name;
  int uses = 0;  ///< attempts made by it; calls, for roles, models and views
  llm::Spend spend;
  double credit = 0;  ///< of ln(plain time ÷ best time): the part that it brought
};

/// An attempt with the calls that made it (indices into the calls).
struct CreditedAttempt {
  std::string action;
  std::string parent;  ///< candidate id, "" for the plain version
  double time_ns = 0;  ///< 0 where it was not correct
  std::vector<size_t> calls;
};

/// Shares the logarithm of the best kernel's speedup over the plain version among the steps of its
/// lineage: a step from one correct kernel to the next is worth ln(before ÷ after), shared equally
/// by the failed attempts mended on the way. A step's worth goes whole to its operator and
/// strategy, and in equal parts to the calls that wrote it, hence to their roles, models and views.
/// All attempts and calls are counted as cost, those without credit too. `best`: candidate id, ""
/// for none.
std::vector<CreditRow> credit_rows(const std::map<std::string, CreditedAttempt>& attempts,
                                   const std::vector<CreditCall>& calls, const std::string& best,
                                   double plain_ns);

/// Sums rows of the same kind and name.
void add_credit(std::vector<CreditRow>& sum, const std::vector<CreditRow>& rows);

}  // namespace quern
