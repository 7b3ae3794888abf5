// SPDX-License-Identifier: Apache-2.0
#include "search/suite_samples.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/clock.h"

namespace quern {
namespace {

constexpr size_t kBatch = 8;  ///< candidates that are compiled together

bool is_baseline(const Attempt& attempt) { return attempt.candidate.proposer == "baseline"; }

double median_of(const Attempt& attempt) {
  const Timing* timing = timing_of(attempt.evaluation.verdict);
  return timing ? timing->median_ns : 0;
}

/// Verified, and not faster than physics allows.
bool may_duel(const Attempt& attempt) {
  return !is_baseline(attempt) && median_of(attempt) > 0 && !attempt.evaluation.alarm;
}

const Attempt* fastest_baseline(const std::vector<Attempt>& attempts) {
  const Attempt* fastest = nullptr;
  for (const Attempt& attempt : attempts) {
    if (!is_baseline(attempt) || median_of(attempt) <= 0) continue;
    if (fastest == nullptr || median_of(attempt) < median_of(*fastest)) fastest = &attempt;
  }
  return fastest;
}

const Duel* duel_of(const std::vector<DuelRecord>& duels, const std::string& candidate_id,
                    const std::string& baseline_id) {
  for (const DuelRecord& record : duels) {
    if (record.candidate_id == candidate_id && record.baseline_id == baseline_id) {
      return &record.duel;
    }
  }
  return nullptr;
}

class Judging {
 public:
  Judging(RunStore& store, Evaluator& evaluator, const std::function<bool()>& stop)
      : store_(store), evaluator_(evaluator), stop_(stop) {}

  Result<bool> run(const std::vector<Candidate>& candidates) {
    QUERN_TRY(store_.drop_in_flight());
    QUERN_TRY(store_.set_state("running"));
    // Asked for in every session: the evaluator learns there whom it may trust.
    QUERN_ASSIGN(const std::vector<Candidate> baselines, evaluator_.baselines());
    QUERN_ASSIGN(const bool known, evaluate(baselines, true));
    QUERN_ASSIGN(const bool judged, known ? evaluate(candidates, false) : Result<bool>(false));
    QUERN_ASSIGN(const bool ended, judged ? duels() : Result<bool>(false));
    QUERN_TRY(store_.set_state(ended ? "finished" : "interrupted"));
    return ended;
  }

 private:
  bool stopped() const { return stop_ && stop_(); }
  Result<bool> evaluate(const std::vector<Candidate>& candidates, bool baselines);
  Result<void> evaluate_batch(std::vector<Attempt> batch);
  Result<bool> duels();

  RunStore& store_;
  Evaluator& evaluator_;
  const std::function<bool()>& stop_;
};

/// Whatever of the candidates is not on record, in batches.
Result<bool> Judging::evaluate(const std::vector<Candidate>& candidates, bool baselines) {
  QUERN_ASSIGN(const std::vector<Attempt> recorded, store_.attempts());
  std::set<std::string> known;
  int number = 0;
  for (const Attempt& attempt : recorded) {
    known.insert(attempt.candidate.id);
    number = std::max(number, attempt.number + 1);
  }
  std::vector<Attempt> open;
  for (const Candidate& candidate : candidates) {
    if (!known.insert(candidate.id).second) continue;
    Attempt& attempt = open.emplace_back();
    attempt.number = number++;
    attempt.candidate = candidate;
    attempt.action = baselines ? "baseline" : "sample";
    if (baselines) {
      attempt.candidate.proposer = "baseline";
      QUERN_TRY(store_.add_baseline(candidate.note, attempt.number, candidate.id));
    }
  }
  for (size_t at = 0; at < open.size(); at += kBatch) {
    if (stopped()) return false;
    const auto first = open.begin() + static_cast<std::ptrdiff_t>(at);
    const size_t count = std::min(kBatch, open.size() - at);
    QUERN_TRY(evaluate_batch({first, first + static_cast<std::ptrdiff_t>(count)}));
  }
  return !stopped();
}

Result<void> Judging::evaluate_batch(std::vector<Attempt> batch) {
  QUERN_TRY(store_.begin_attempts(batch));
  std::vector<Candidate> candidates;
  for (const Attempt& attempt : batch) candidates.push_back(attempt.candidate);
  Result<void> written;
  std::set<size_t> told;
  int64_t accounted = steady_now_ns();
  EvaluateRequest request;
  request.stop = [&] { return stopped() || !written; };
  request.done = [&](size_t i, const Evaluation& evaluation) {
    if (!told.insert(i).second || !written) return;
    const int64_t now = steady_now_ns();
    written = store_.finish_attempt(batch[i].number, evaluation, seconds_between(accounted, now));
    accounted = now;
  };
  QUERN_ASSIGN(const std::vector<Evaluation> all, evaluator_.evaluate(candidates, request));
  for (size_t i = 0; i < all.size(); ++i) request.done(i, all[i]);
  if (!written) return written;
  if (told.size() < batch.size()) QUERN_TRY(store_.drop_in_flight());
  return {};
}

Result<bool> Judging::duels() {
  QUERN_ASSIGN(const std::vector<Attempt> attempts, store_.attempts());
  QUERN_ASSIGN(const std::vector<DuelRecord> recorded, store_.duels());
  const Attempt* baseline = fastest_baseline(attempts);
  if (baseline == nullptr) {
    return Error{ErrorKind::kInternal, "no baseline passes: there is nothing to compare with",
                 "see: quern report " + store_.directory()};
  }
  for (const Attempt& attempt : attempts) {
    const std::string& id = attempt.candidate.id;
    if (!may_duel(attempt) || duel_of(recorded, id, baseline->candidate.id) != nullptr) continue;
    if (stopped()) return false;
    const int64_t start = steady_now_ns();
    QUERN_ASSIGN(const Duel duel, evaluator_.duel(attempt.candidate, baseline->candidate));
    QUERN_TRY(store_.add_duel({id, baseline->candidate.id, duel},
                              seconds_between(start, steady_now_ns())));
  }
  return true;
}

}  // namespace

Result<bool> judge_samples(RunStore& store, Evaluator& evaluator,
                           const std::vector<Candidate>& candidates,
                           const std::function<bool()>& stop) {
  return Judging(store, evaluator, stop).run(candidates);
}

std::optional<SuiteSample> sample_of(const RecordedRun& recorded, const std::string& candidate_id) {
  const auto found = std::ranges::find_if(recorded.attempts, [&](const Attempt& attempt) {
    return attempt.candidate.id == candidate_id && !is_baseline(attempt);
  });
  if (found == recorded.attempts.end()) return std::nullopt;
  const Verdict& verdict = found->evaluation.verdict;
  SuiteSample sample;
  sample.state = verdict_name(verdict);
  sample.reason = verdict_reason(verdict);
  sample.median_ns = median_of(*found);
  sample.roofline = found->evaluation.roofline;
  if (passed(verdict) && found->evaluation.alarm) {
    sample.state = "alarm";
    sample.reason = *found->evaluation.alarm;
  }
  if (!sample.passed()) return sample;
  const Attempt* baseline = fastest_baseline(recorded.attempts);
  const Duel* duel =
      baseline == nullptr ? nullptr : duel_of(recorded.duels, candidate_id, baseline->candidate.id);
  if (duel == nullptr) return std::nullopt;
  sample.speedup = duel->speedup;
  sample.low = duel->low;
  sample.high = duel->high;
  sample.baseline = baseline->candidate.note;
  return sample;
}

SuiteSample sample_of_search(const RunRecord& run) {
  SuiteSample sample;
  const Json summary = run.summary.value_or(Json::object());
  const Json best = summary.value("best", Json());
  sample.attempts = summary.value("/attempts/total"_json_pointer, 0);
  if (best.is_object() && !best["speedup"].is_number()) {
    sample.state = "not_run";
    sample.reason = "no baseline passes: there is nothing to compare with";
    return sample;
  }
  if (!best.is_object()) {
    sample.state = "no_kernel";
    sample.reason = fmt::format("none of {} candidates passed", sample.attempts);
    const Json verdicts = summary.value("/attempts/by_verdict"_json_pointer, Json::object());
    for (const auto& [verdict, count] : verdicts.items()) {
      sample.reason += fmt::format(", {} {}", count.get<int>(), verdict);
    }
    return sample;
  }
  sample.state = "passed";
  sample.speedup = best["speedup"];
  sample.low = best["speedup_low"];
  sample.high = best["speedup_high"];
  sample.median_ns = best["median_ns"];
  sample.roofline = best["roofline"];
  sample.baseline = summary.value("/baseline/name"_json_pointer, "");
  return sample;
}

}  // namespace quern
