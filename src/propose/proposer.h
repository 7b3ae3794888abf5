// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "record/evaluation.h"

namespace quern {

/// A candidate with the action that leads to it from its first parent.
struct ProposedCandidate {
  Candidate candidate;
  std::string action;
};

/// Makes candidates from feedback. Everything it does is a function of how it was made (its seed
/// included) and of the calls so far: that is what lets a run be resumed from its record.
class Proposer {
 public:
  virtual ~Proposer() = default;

  /// Up to `count` candidates, by promise; none when nothing is left to try.
  virtual Result<std::vector<ProposedCandidate>> next(int count) = 0;
  /// What became of a candidate, told in the order of the proposals. A proposal whose source was
  /// tried before is told with the earlier attempt. Baselines are told too, first.
  virtual void tell(const Attempt& attempt) = 0;
};

}  // namespace quern
