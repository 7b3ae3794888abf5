// SPDX-License-Identifier: Apache-2.0
#include "search/replay.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace quern {
namespace {

constexpr size_t kShownBytes = 200;

bool is_baseline(const Attempt& attempt) { return attempt.candidate.proposer == "baseline"; }

/// One side of a comparison, without the sources: their hash is the candidate's id.
Json fields_of(const Attempt& attempt) {
  Json fields = to_json(attempt.candidate);
  fields.erase("source");
  fields["action"] = attempt.action;
  fields["evaluation"] = to_json(attempt.evaluation);
  return fields;
}

std::string shown(const Json& value) {
  return shorten(value.is_string() ? value.get<std::string>() : dump(value), kShownBytes);
}

void compare(const Attempt& recorded, const Attempt& replayed,
             std::vector<ReplayDifference>& differences) {
  const Json before = fields_of(recorded), after = fields_of(replayed);
  for (const auto& [field, value] : before.items()) {
    const Json& other = after.at(field);
    if (value == other) continue;
    differences.push_back({recorded.number, field, shown(value), shown(other)});
  }
}

void compare_whole(const std::string& field, const Json& recorded, const Json& replayed,
                   std::vector<ReplayDifference>& differences) {
  if (recorded == replayed) return;
  differences.push_back({-1, field, shown(recorded), shown(replayed)});
}

Json duels_json(const std::vector<DuelRecord>& duels) {
  Json list = Json::array();
  for (const DuelRecord& record : duels) {
    list.push_back({record.candidate_id, record.baseline_id, to_json(record.duel)});
  }
  return list;
}

/// The winner that the run named, null where it has not.
Json named_best(const RunRecord& run) {
  if (!run.summary || !run.summary->is_object()) return nullptr;
  const auto best = run.summary->find("best");
  if (best == run.summary->end() || !best->is_object()) return nullptr;
  return best->value("candidate_id", "");
}

struct Rerun {
  ReplayOutcome outcome;
  std::vector<DuelRecord> duels;
};

Result<Rerun> rerun(const RecordedRun& recorded, Proposer& proposer, int attempts) {
  RunOptions options = recorded.run.options;
  options.budget_s = 0;  // time was spent in the record
  QUERN_ASSIGN(RunStore store,
               RunStore::in_memory(options, recorded.run.environment, recorded.run.work));
  QUERN_TRY(store.set_search_ended(attempts));
  RecordedEvaluator evaluator(recorded);
  SearchParts parts{evaluator, proposer, store, {}, [&] { return evaluator.ran_out(); }};
  const Result<RunSummary> summary = run_search(parts);
  Rerun made;
  if (!summary) {
    made.outcome.stopped = summary.error();
  } else {
    made.outcome.best = summary->best;
  }
  if (summary && evaluator.ran_out()) {
    made.outcome.stopped = Error{
        ErrorKind::kInput,
        fmt::format("the record has no evaluation of candidate {:.12}", evaluator.unknown()), ""};
  }
  QUERN_ASSIGN(made.outcome.attempts, store.attempts());
  QUERN_ASSIGN(made.duels, store.duels());
  made.outcome.recorded = recorded.baselines() + recorded.searched();
  made.outcome.replayed = static_cast<int>(made.outcome.attempts.size());
  return made;
}

}  // namespace

int RecordedRun::baselines() const {
  return static_cast<int>(std::ranges::count_if(attempts, is_baseline));
}

int RecordedRun::searched() const {
  int next = 0;
  for (const Attempt& attempt : attempts) next += attempt.number == next;
  const int whole = next - baselines();
  return run.search_attempts ? std::min(whole, *run.search_attempts) : whole;
}

Result<RecordedRun> load_recorded(RunStore& store) {
  RecordedRun recorded;
  QUERN_ASSIGN(recorded.run, store.run());
  QUERN_ASSIGN(recorded.attempts, store.attempts());
  QUERN_ASSIGN(recorded.duels, store.duels());
  return recorded;
}

RecordedEvaluator::RecordedEvaluator(const RecordedRun& recorded) : recorded_(recorded) {
  for (const Attempt& attempt : recorded.attempts) by_id_.emplace(attempt.candidate.id, &attempt);
}

Result<std::vector<Evaluation>> RecordedEvaluator::evaluate(
    const std::vector<Candidate>& candidates, const EvaluateRequest&) {
  std::vector<Evaluation> evaluations;
  for (const Candidate& candidate : candidates) {
    const auto found = by_id_.find(candidate.id);
    if (found == by_id_.end()) {
      unknown_ = candidate.id;
      break;
    }
    evaluations.push_back(found->second->evaluation);
  }
  return evaluations;
}

Result<Duel> RecordedEvaluator::duel(const Candidate& candidate, const Candidate& baseline) {
  for (const DuelRecord& record : recorded_.duels) {
    if (record.candidate_id == candidate.id && record.baseline_id == baseline.id) {
      return record.duel;
    }
  }
  const auto median_of = [&](const Candidate& of) {
    const auto found = by_id_.find(of.id);
    const Timing* timing =
        found == by_id_.end() ? nullptr : timing_of(found->second->evaluation.verdict);
    return timing ? timing->median_ns : 1;
  };
  Duel duel;
  duel.baseline = baseline.proposer == "baseline" ? baseline.note : baseline.id;
  duel.speedup = duel.low = duel.high = median_of(baseline) / median_of(candidate);
  return duel;
}

Result<std::vector<Candidate>> RecordedEvaluator::baselines() {
  std::vector<Candidate> list;
  for (const Attempt& attempt : recorded_.attempts) {
    if (is_baseline(attempt)) list.push_back(attempt.candidate);
  }
  return list;
}

Result<ReplayOutcome> replay_run(const RecordedRun& recorded, Proposer& proposer) {
  QUERN_ASSIGN(Rerun made, rerun(recorded, proposer, recorded.searched()));
  ReplayOutcome& outcome = made.outcome;
  auto& differences = outcome.differences;
  const size_t common = std::min(outcome.recorded, outcome.replayed);
  for (size_t i = 0; i < common; ++i) {
    compare(recorded.attempts[i], outcome.attempts[i], differences);
  }
  if (outcome.stopped) {
    differences.push_back({-1, "course", "went on", outcome.stopped->message});
  }
  compare_whole("attempts", outcome.recorded, outcome.replayed, differences);
  // Only a run that came to its end has had all its duels.
  if (recorded.run.state == "finished") {
    compare_whole("duels", duels_json(recorded.duels), duels_json(made.duels), differences);
    compare_whole("best", named_best(recorded.run),
                  outcome.best ? Json(outcome.best->candidate_id) : Json(nullptr), differences);
  }
  return std::move(outcome);
}

Result<ReplayOutcome> search_record(const RecordedRun& recorded, Proposer& proposer, int attempts) {
  QUERN_ASSIGN(Rerun made, rerun(recorded, proposer, attempts));
  return std::move(made.outcome);
}

std::vector<double> best_so_far(const std::vector<Attempt>& attempts) {
  std::vector<double> curve;
  double best = 0;
  for (const Attempt& attempt : attempts) {
    if (is_baseline(attempt)) continue;
    const Timing* timing = timing_of(attempt.evaluation.verdict);
    const bool counts = timing && !timing->early_rejected && !attempt.evaluation.alarm;
    if (counts && (best == 0 || timing->median_ns < best)) best = timing->median_ns;
    curve.push_back(best);
  }
  return curve;
}

}  // namespace quern
