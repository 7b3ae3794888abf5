// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "record/evaluator.h"

namespace quern {

/// A referee that compiles and runs nothing: verdict and times are a hash of the source, the same
/// on every machine. For tests of the loop, the store and the command line.
class SimulatedEvaluator : public Evaluator {
 public:
  struct Options {
    uint64_t seed = 0;
    double delay_ms = 0;       ///< how long one evaluation pretends to take
    double naive_ns = 1e6;     ///< time of the naive baseline
    double best_ns = 1e5;      ///< no candidate is faster
    double fail_share = 0.25;  ///< candidates that do not pass, 0–1
  };
  explicit SimulatedEvaluator(Options options) : options_(options) {}

  Result<std::vector<Evaluation>> evaluate(const std::vector<Candidate>& candidates,
                                           const EvaluateRequest& request) override;
  Result<Duel> duel(const Candidate& candidate, const Candidate& baseline) override;
  Result<std::vector<Candidate>> baselines() override;
  Environment environment() override;
  Work work() override;

  int evaluations() const { return evaluations_; }  ///< made so far
  int duels() const { return duels_; }

 private:
  double time_ns(const Candidate& candidate) const;
  Evaluation judge(const Candidate& candidate, const EvaluateRequest& request) const;

  Options options_;
  int evaluations_ = 0;
  int duels_ = 0;
};

}  // namespace quern
