// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <random>
#include <string>

#include "propose/proposer.h"

namespace quern {

/// Random numbers, and neighbours of the best one: the smallest proposer that learns from what it
/// is told. Its sources compute nothing; for tests with the simulated evaluator.
class SweepProposer : public Proposer {
 public:
  explicit SweepProposer(std::string entry, uint64_t seed, int values = 100'000)
      : entry_(std::move(entry)), random_(seed), values_(values) {}

  Result<std::vector<ProposedCandidate>> next(int count) override;
  void tell(const Attempt& attempt) override;

 private:
  std::string entry_;
  std::mt19937_64 random_;
  int values_;
  std::string best_;
  int best_value_ = 0;
  double best_ns_ = 0;
};

}  // namespace quern
