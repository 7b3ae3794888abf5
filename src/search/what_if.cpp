// SPDX-License-Identifier: Apache-2.0
#include "search/what_if.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace quern {
namespace {

/// How well a recorded attempt fits a choice: 0 is best.
int misfit(const Attempt& attempt, const std::string& made_by, const std::string& strategy) {
  const bool same_operator = attempt.action.substr(0, attempt.action.find(": ")) == made_by;
  if (!same_operator) return 2;
  return attempt.candidate.note == strategy ? 0 : 1;
}

Result<WhatIf> look(const RecordedRun& recorded, Proposer& proposer) {
  WhatIf made;
  made.available = recorded.searched();
  QUERN_ASSIGN(made.outcome, search_record(recorded, proposer, made.available));
  made.best_ns = best_so_far(made.outcome.attempts);
  made.reached = static_cast<int>(made.best_ns.size());
  made.recorded_best_ns = best_so_far(recorded.attempts);
  made.recorded_best_ns.resize(std::min(made.recorded_best_ns.size(), made.best_ns.size()));
  if (made.outcome.stopped) made.left = made.outcome.stopped->message;
  return made;
}

}  // namespace

void NoClient::start(llm::Request, llm::CallControl, std::function<void(llm::Answer)> done) {
  llm::Answer answer;
  answer.outcome = llm::Failure{llm::FailureKind::kNotRecorded, "no model is asked here", ""};
  done(std::move(answer));
}

RecordedKernels::RecordedKernels(const RecordedRun& recorded) {
  for (const Attempt& attempt : recorded.attempts) {
    if (attempt.candidate.proposer == "baseline") continue;
    const auto& parents = attempt.candidate.parents;
    children_[parents.empty() ? "" : parents[0]].push_back({&attempt});
    number_of_.emplace(attempt.candidate.id, attempt.number);
  }
}

void RecordedKernels::start(llm::Request request, llm::CallControl,
                            std::function<void(llm::Answer)> done) {
  const auto text = [&](const char* key) { return request.label.value(key, ""); };
  llm::Answer answer;
  llm::Reply reply;
  reply.text = "The record does not say.";
  if (text("writes") == "code") {
    const auto source = take(text("parent"), text("operator"), text("strategy"));
    if (!source) {
      answer.outcome = llm::Failure{llm::FailureKind::kBudget, missing_, ""};
      return done(std::move(answer));
    }
    reply.text = fenced_code(*source);
  }
  answer.outcome = std::move(reply);
  done(std::move(answer));
}

std::optional<std::string> RecordedKernels::take(const std::string& parent,
                                                 const std::string& made_by,
                                                 const std::string& strategy) {
  if (!missing_.empty()) return std::nullopt;
  Child* best = nullptr;
  int least = 3;
  for (Child& child : children_[parent]) {
    const int fit = misfit(*child.attempt, made_by, strategy);
    if (child.taken || fit >= least) continue;
    best = &child;
    least = fit;
  }
  if (best == nullptr) {
    const auto number = number_of_.find(parent);
    missing_ = fmt::format("it chose '{}{}{}' on {}, of which the record has no further attempt",
                           made_by, strategy.empty() ? "" : ": ", strategy,
                           number == number_of_.end() ? "the plain version"
                                                      : fmt::format("attempt {}", number->second));
    return std::nullopt;
  }
  best->taken = true;
  ++taken_;
  borrowed_ += least > 0;
  return best->attempt->candidate.source;
}

Result<WhatIf> what_if(const RecordedRun& recorded, const Recipe& recipe, RecipeSetting setting) {
  RecordedKernels kernels(recorded);
  QUERN_ASSIGN(Prompts prompts, Prompts::make());
  RecipeProposer proposer(recipe, std::move(setting), std::move(prompts), kernels);
  QUERN_ASSIGN(WhatIf made, look(recorded, proposer));
  made.borrowed = kernels.borrowed();
  if (!kernels.missing().empty() && made.reached < made.available) made.left = kernels.missing();
  return made;
}

Result<WhatIf> what_if(const RecordedRun& recorded, Proposer& proposer) {
  return look(recorded, proposer);
}

}  // namespace quern
