// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "propose/proposer.h"
#include "record/evaluator.h"
#include "search/search.h"
#include "store/run_store.h"

namespace quern {

/// A run as it was recorded.
struct RecordedRun {
  RunRecord run;
  std::vector<Attempt> attempts;  ///< in order of number, baselines first
  std::vector<DuelRecord> duels;

  int baselines() const;
  /// Attempts of the search itself up to the first number that is missing: a run that was killed
  /// may have recorded later ones of its last batch.
  int searched() const;
};

Result<RecordedRun> load_recorded(RunStore& store);

/// A referee that judges by a run's record alone: what was evaluated there is told again, and at
/// the first candidate that was not it has run out.
class RecordedEvaluator : public Evaluator {
 public:
  /// `recorded` outlives it.
  explicit RecordedEvaluator(const RecordedRun& recorded);

  Result<std::vector<Evaluation>> evaluate(const std::vector<Candidate>& candidates,
                                           const EvaluateRequest& request) override;
  /// As recorded; of a pair that never met, the ratio of the medians, of 0 rounds.
  Result<Duel> duel(const Candidate& candidate, const Candidate& baseline) override;
  Result<std::vector<Candidate>> baselines() override;
  Environment environment() override { return recorded_.run.environment; }
  Work work() override { return recorded_.run.work; }

  bool ran_out() const { return !unknown_.empty(); }
  /// The candidate that the record does not have; "" while there is none.
  const std::string& unknown() const { return unknown_; }

 private:
  const RecordedRun& recorded_;
  std::unordered_map<std::string, const Attempt*> by_id_;
  std::string unknown_;
};

/// Something that a replay did otherwise.
struct ReplayDifference {
  int number = 0;     ///< of the attempt; -1: of the run as a whole
  std::string field;  ///< "candidate_id", "action", …
  std::string recorded, replayed;
};

struct ReplayOutcome {
  int recorded = 0;  ///< attempts of the record that a replay can reach, baselines included
  int replayed = 0;
  std::vector<Attempt> attempts;  ///< as replayed
  std::optional<BestKernel> best;
  std::vector<ReplayDifference> differences;  ///< none: the same, bit for bit
  std::optional<Error> stopped;               ///< what the proposer could not go on without
};

/// Runs the search of the record again with `proposer`, against recorded evaluations and duels, and
/// compares attempt by attempt. Nothing is compiled, timed or written.
Result<ReplayOutcome> replay_run(const RecordedRun& recorded, Proposer& proposer);

/// Runs another search over the record for as long as it proposes what is there, at most `attempts`
/// of it. No differences are looked for.
Result<ReplayOutcome> search_record(const RecordedRun& recorded, Proposer& proposer, int attempts);

/// Time in ns of the best verified kernel after each attempt of the search, 0 before there is one.
std::vector<double> best_so_far(const std::vector<Attempt>& attempts);

}  // namespace quern
