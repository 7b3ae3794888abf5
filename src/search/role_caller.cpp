// SPDX-License-Identifier: Apache-2.0
#include "search/role_caller.h"

#include <future>
#include <optional>

#include "base/check.h"

namespace quern {
namespace {

/// The run cannot go on when one of these comes back; anything else is one call's bad luck.
bool is_fatal(llm::FailureKind kind) {
  using Kind = llm::FailureKind;
  return kind == Kind::kSetup || kind == Kind::kPrice || kind == Kind::kRejected ||
         kind == Kind::kNotRecorded || kind == Kind::kCancelled;
}

}  // namespace

Result<std::vector<RoleReply>> RoleCaller::ask(std::vector<llm::Request> requests) {
  QUERN_CHECK(client_ != nullptr || requests.empty(), "somebody to ask");
  std::vector<std::future<llm::Answer>> calls;
  for (llm::Request& request : requests) calls.push_back(client_->ask(std::move(request)));
  std::vector<RoleReply> replies;
  std::optional<Error> fatal;
  for (auto& call : calls) {
    const llm::Answer answer = call.get();
    if (answer.ok()) {
      replies.push_back({true, answer.reply().text});
      continue;
    }
    replies.push_back({false, answer.failure().message});
    if (answer.failure().kind == llm::FailureKind::kBudget) spent_ = true;
    if (is_fatal(answer.failure().kind)) fatal = to_error(answer.failure());
  }
  if (fatal) return *fatal;
  return replies;
}

}  // namespace quern
