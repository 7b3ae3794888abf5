// SPDX-License-Identifier: Apache-2.0
#include "search/credit.h"

#include <algorithm>
#include <cmath>

namespace quern {
namespace {

/// "wider vectors" of the action "apply: wider vectors".
std::pair<std::string, std::string> operator_and_strategy(const std::string& action) {
  const size_t colon = action.find(": ");
  if (colon == std::string::npos) return {action, ""};
  return {action.substr(0, colon), action.substr(colon + 2)};
}

/// A plan's step without its arguments: what the rules did.
std::string operator_of(const CreditedAttempt& attempt) {
  std::string made_by = operator_and_strategy(attempt.action).first;
  if (!attempt.calls.empty()) return made_by;
  return made_by.substr(0, made_by.find('('));
}

CreditRow& row_of(std::vector<CreditRow>& rows, const std::string& kind, const std::string& name) {
  const auto found = std::ranges::find_if(
      rows, [&](const CreditRow& row) { return row.kind == kind && row.name == name; });
  if (found != rows.end()) return *found;
  CreditRow& made = rows.emplace_back();
  made.kind = kind;
  made.name = name;
  return made;
}

/// Credit of each attempt on the lineage of `best`, by candidate id.
std::map<std::string, double> lineage_credit(const std::map<std::string, CreditedAttempt>& attempts,
                                             const std::string& best, double plain_ns) {
  std::map<std::string, double> credit;
  std::vector<std::string> step;  // from a correct kernel back to the one before it
  double after_ns = 0;
  const auto close = [&](double before_ns) {
    for (const std::string& id : step) {
      credit[id] += std::log(before_ns / after_ns) / static_cast<double>(step.size());
    }
    step.clear();
  };
  for (std::string id = best; !id.empty() && !credit.contains(id);) {
    const auto found = attempts.find(id);
    if (found == attempts.end() || std::ranges::count(step, id) > 0) break;
    if (found->second.time_ns > 0) {
      if (!step.empty()) close(found->second.time_ns);
      after_ns = found->second.time_ns;
    }
    step.push_back(id);
    id = found->second.parent;
  }
  if (!step.empty() && after_ns > 0 && plain_ns > 0) close(plain_ns);
  return credit;
}

}  // namespace

void CallLog::start(llm::Request request, llm::CallControl control,
                    std::function<void(llm::Answer)> done) {
  CreditCall call;
  const auto text = [&](const char* key) {
    return request.label.is_object() ? request.label.value(key, "") : std::string();
  };
  if (request.label.is_object()) call.node = request.label.value("node", 0);
  call.made_by = text("operator");
  call.strategy = text("strategy");
  call.role = text("role");
  call.view = text("view");
  call.model = request.model;
  const size_t index = calls_.size();
  calls_.push_back(std::move(call));
  inner_.start(std::move(request), std::move(control),
               [this, index, done = std::move(done)](llm::Answer answer) {
                 calls_[index].spend = answer.spend;
                 done(std::move(answer));
               });
}

llm::Spend CallLog::spent() const {
  llm::Spend sum;
  for (const CreditCall& call : calls_) sum += call.spend;
  return sum;
}

std::vector<CreditRow> credit_rows(const std::map<std::string, CreditedAttempt>& attempts,
                                   const std::vector<CreditCall>& calls, const std::string& best,
                                   double plain_ns) {
  const auto credit = lineage_credit(attempts, best, plain_ns);
  std::vector<CreditRow> rows;
  for (const CreditCall& call : calls) {
    for (const auto& [kind, name] : {std::pair{"role", call.role}, std::pair{"model", call.model},
                                     std::pair{"view", call.view}}) {
      CreditRow& row = row_of(rows, kind, name);
      ++row.uses;
      row.spend += call.spend;
    }
    // Calls that led to no candidate were paid for all the same.
    row_of(rows, "operator", call.made_by).spend += call.spend;
    if (!call.strategy.empty()) row_of(rows, "strategy", call.strategy).spend += call.spend;
  }
  for (const auto& [id, attempt] : attempts) {
    const auto found = credit.find(id);
    const double worth = found == credit.end() ? 0 : found->second;
    const auto [made_by, strategy] = operator_and_strategy(attempt.action);
    const auto add = [&](const char* kind, const std::string& name, double part, int uses) {
      CreditRow& row = row_of(rows, kind, name);
      row.credit += part;
      row.uses += uses;
    };
    add("operator", operator_of(attempt), worth, 1);
    if (!strategy.empty()) add("strategy", strategy, worth, 1);
    for (size_t index : attempt.calls) {
      const double part = worth / static_cast<double>(attempt.calls.size());
      add("role", calls[index].role, part, 0);
      add("model", calls[index].model, part, 0);
      add("view", calls[index].view, part, 0);
    }
  }
  return rows;
}

void add_credit(std::vector<CreditRow>& sum, const std::vector<CreditRow>& rows) {
  for (const CreditRow& row : rows) {
    CreditRow& into = row_of(sum, row.kind, row.name);
    into.uses += row.uses;
    into.spend += row.spend;
    into.credit += row.credit;
  }
}

}  // namespace quern
