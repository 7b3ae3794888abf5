// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "propose/proposer.h"
#include "propose/rules.h"

namespace quern {

/// The rules as a proposer of candidates: replays each plan, prints its source, and labels it with
/// the steps that lead to it from its parent. Plans that cannot be applied or printed are told to
/// the rules as failed and never become candidates.
class RulesSource : public Proposer {
 public:
  RulesSource(const ir::Program& program, const ir::Sizes& sizes, const RulesMachine& machine,
              uint64_t seed);

  Result<std::vector<ProposedCandidate>> next(int count) override;
  void tell(const Attempt& attempt) override;

 private:
  struct Tried {
    std::string candidate_id;
    Trace trace;
  };
  Result<ProposedCandidate> make(const Proposal& proposal) const;

  ir::Program program_;
  ir::Sizes sizes_;
  RulesMachine machine_;
  RulesProposer rules_;
  std::map<std::string, std::vector<Trace>> waiting_;  ///< by candidate id: plans not yet told of
  std::map<int, Tried> tried_;                         ///< by attempt
};

/// What turns one plan into another, as one line: the steps added, then those taken away.
std::string steps_between(const Trace& from, const Trace& to);

}  // namespace quern
