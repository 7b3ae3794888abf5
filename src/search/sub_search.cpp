// SPDX-License-Identifier: Apache-2.0
#include "search/sub_search.h"

#include <algorithm>

namespace quern {

void SubSearches::add(int node, Pick pick, Proposer& by, int attempts) {
  Sub& sub = subs_.emplace_back();
  sub.end.node = node;
  sub.end.pick = std::move(pick);
  sub.by = &by;
  sub.left = attempts;
}

void SubSearches::add(int node, Pick pick, std::unique_ptr<Proposer> by, int attempts) {
  add(node, std::move(pick), *by, attempts);
  subs_.back().owned = std::move(by);
}

Result<std::vector<ProposedCandidate>> SubSearches::draw(int count) {
  for (Sub& sub : subs_) {
    if (sub.left <= 0) continue;
    // A whole batch even where less is left: what a proposer is asked does not depend on its share.
    QUERN_ASSIGN(std::vector<ProposedCandidate> made, sub.by->next(count));
    if (made.empty()) sub.left = 0;
    for (const ProposedCandidate& one : made) waiting_[one.candidate.id].push_back(&sub);
    sub.left -= static_cast<int>(made.size());
    sub.open += static_cast<int>(made.size());
    if (!made.empty()) return made;
  }
  return std::vector<ProposedCandidate>{};
}

void SubSearches::keep(Sub& sub, const Attempt& attempt) {
  ++sub.end.attempts;
  const auto time = [](const Attempt& one) {
    const Timing* timing = timing_of(one.evaluation.verdict);
    return timing != nullptr && !one.evaluation.alarm ? timing->median_ns : 0;
  };
  std::optional<Attempt>& best = sub.end.result;
  const bool better = time(attempt) > 0 && best && time(*best) > time(attempt);
  if (!best || time(*best) <= 0 || better) best = attempt;
}

bool SubSearches::told(const Attempt& attempt) {
  const auto found = waiting_.find(attempt.candidate.id);
  if (found == waiting_.end()) return false;
  const std::vector<Sub*> subs = std::move(found->second);
  waiting_.erase(found);
  for (size_t i = 0; i < subs.size(); ++i) {
    --subs[i]->open;
    const bool again = std::find(subs.begin(), subs.begin() + static_cast<long>(i), subs[i]) !=
                       subs.begin() + static_cast<long>(i);
    if (again) continue;
    subs[i]->by->tell(attempt);
    keep(*subs[i], attempt);
  }
  return true;
}

std::vector<SubSearchEnd> SubSearches::take_ended() {
  std::vector<SubSearchEnd> ended;
  for (auto sub = subs_.begin(); sub != subs_.end();) {
    if (sub->left > 0 || sub->open > 0) {
      ++sub;
      continue;
    }
    ended.push_back(std::move(sub->end));
    sub = subs_.erase(sub);
  }
  return ended;
}

}  // namespace quern
