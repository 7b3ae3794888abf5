// SPDX-License-Identifier: Apache-2.0
#include "search/sweep_proposer.h"

#include <fmt/format.h>

namespace quern {

Result<std::vector<ProposedCandidate>> SweepProposer::next(int count) {
  std::vector<ProposedCandidate> proposals;
  for (int i = 0; i < count && values_ > 0; ++i) {
    int value = static_cast<int>(random_() % static_cast<uint64_t>(values_));
    if (!best_.empty() && random_() % 2) value = (best_value_ + i + 1) % values_;
    ProposedCandidate proposal;
    std::string trace = fmt::format("set({}, value={})", entry_, value);
    proposal.candidate = make_candidate(
        fmt::format("// quern: entry = {}\nint value = {};\n", entry_, value), "sweep");
    proposal.candidate.trace = trace + "\n";
    proposal.candidate.note = best_.empty() ? "at random" : "near the best, or at random";
    if (!best_.empty()) proposal.candidate.parents = {best_};
    proposal.action = trace;
    proposals.push_back(std::move(proposal));
  }
  return proposals;
}

void SweepProposer::tell(const Attempt& attempt) {
  const Timing* timing = timing_of(attempt.evaluation.verdict);
  if (attempt.candidate.proposer == "baseline" || !timing) return;
  if (!best_.empty() && timing->median_ns >= best_ns_) return;
  best_ns_ = timing->median_ns;
  best_ = attempt.candidate.id;
  const std::string& source = attempt.candidate.source;
  best_value_ = std::atoi(source.c_str() + source.rfind('=') + 1);
}

}  // namespace quern
