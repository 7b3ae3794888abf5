// SPDX-License-Identifier: Apache-2.0
#include "search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/clock.h"

namespace quern {
namespace {

double median_of(const Attempt& attempt) {
  const Timing* timing = timing_of(attempt.evaluation.verdict);
  return timing ? timing->median_ns : 0;
}

bool is_baseline(const Attempt& attempt) { return attempt.candidate.proposer == "baseline"; }

/// What may win: verified, timed to the end, and not faster than physics allows.
bool eligible(const Evaluation& evaluation) {
  const Timing* timing = timing_of(evaluation.verdict);
  return timing && !timing->early_rejected && timing->median_ns > 0 && !evaluation.alarm;
}

/// Faster first; of equals the earlier.
bool faster(const Attempt* a, const Attempt* b) {
  double left = median_of(*a), right = median_of(*b);
  return left != right ? left < right : a->number < b->number;
}

class Search {
 public:
  Search(SearchParts& parts, const SearchPolicy& policy) : parts_(parts), policy_(policy) {}

  Result<RunSummary> run() {
    QUERN_TRY(load());
    QUERN_TRY(run_baselines());
    QUERN_TRY(run_batches());
    QUERN_TRY(run_finals());
    report("done");
    return summarize();
  }

 private:
  Result<void> load();
  Result<void> run_baselines();
  Result<void> run_batches();
  Result<void> run_finals();
  Result<RunSummary> summarize();

  Result<std::vector<Attempt>> propose(bool& exhausted);
  using Evaluations = std::unordered_map<int, Evaluation>;  ///< by number
  Result<Evaluations> evaluate_open(const std::vector<Attempt>& open, bool baselines);
  Result<void> evaluate(const std::vector<Attempt>& attempts, bool baselines);
  Result<void> match_record(const std::vector<Attempt>& attempts) const;
  void accept(const Attempt& attempt);
  Result<Duel> duel(const Attempt& candidate, const Attempt& baseline);
  std::vector<const Attempt*> finalists() const;
  std::vector<const Attempt*> passed_baselines() const;

  bool stopped() const { return parts_.stop && parts_.stop(); }
  double spent_s() const { return run_.spent_s + seconds_between(started_ns_, steady_now_ns()); }
  /// Seconds since the last account, which is thereby settled.
  double take_spent_s() {
    int64_t now = steady_now_ns();
    return seconds_between(std::exchange(accounted_ns_, now), now);
  }
  /// What attempts are stamped with: nothing where the clock only pretends, so that such runs are
  /// alike to the last bit.
  std::string now() const { return run_.options.clock == "steady" ? utc_now() : ""; }
  int searched() const { return static_cast<int>(attempts_.size()) - baselines_; }
  /// The next attempt, or a later one, is on record.
  bool replaying() const { return static_cast<int>(attempts_.size()) <= last_recorded_; }
  bool over_budget() const;
  int room() const;
  void report(const std::string& phase);

  SearchParts& parts_;
  SearchPolicy policy_;
  RunRecord run_;
  Work work_;
  std::unordered_map<int, Attempt> recorded_;  ///< by number; what a former session evaluated
  int last_recorded_ = -1;
  std::vector<DuelRecord> recorded_duels_;
  std::vector<Attempt> attempts_;
  std::vector<int> ranked_;                         ///< eligible candidates, fastest first
  std::unordered_map<std::string, int> number_of_;  ///< by candidate id
  std::map<std::string, int> by_verdict_;
  std::optional<BestKernel> best_;
  int baselines_ = 0;
  int replayed_ = 0;
  bool cut_short_ = false;
  std::vector<const Evaluation*> pending_;  ///< of the batch that runs, not yet accepted
  SearchEnd end_ = SearchEnd::kBudget;
  int64_t started_ns_ = steady_now_ns();
  int64_t accounted_ns_ = started_ns_;
};

Result<void> Search::load() {
  QUERN_ASSIGN(int dropped, parts_.store.drop_in_flight());
  QUERN_ASSIGN(run_, parts_.store.run());
  QUERN_ASSIGN(std::vector<Attempt> attempts, parts_.store.attempts());
  for (Attempt& attempt : attempts) {
    last_recorded_ = std::max(last_recorded_, attempt.number);
    recorded_.emplace(attempt.number, std::move(attempt));
  }
  QUERN_ASSIGN(recorded_duels_, parts_.store.duels());
  work_ = run_.work;
  QUERN_TRY(parts_.store.set_state("running"));
  if (!recorded_.empty() || dropped > 0) {
    QUERN_TRY(parts_.store.add_event(
        "resume",
        fmt::format("{} attempts recorded, {} were in flight", recorded_.size(), dropped)));
  } else {
    QUERN_TRY(parts_.store.add_event("start", run_.options.task_name));
  }
  return {};
}

bool Search::over_budget() const {
  const RunOptions& options = run_.options;
  if (run_.search_attempts) return searched() >= *run_.search_attempts;
  if (options.budget_attempts > 0 && searched() >= options.budget_attempts) return true;
  // What is recorded was paid for; time only decides about new work.
  return options.budget_s > 0 && !replaying() && spent_s() >= options.budget_s;
}

/// How many candidates may still be tried.
int Search::room() const {
  int room = policy_.batch;
  const RunOptions& options = run_.options;
  if (options.budget_attempts > 0) room = std::min(room, options.budget_attempts - searched());
  if (run_.search_attempts) room = std::min(room, *run_.search_attempts - searched());
  return room;
}

void Search::report(const std::string& phase) {
  if (!parts_.progress || (phase == "search" && replaying())) return;
  Progress progress;
  progress.phase = phase;
  progress.attempts = searched() + static_cast<int>(pending_.size());
  progress.replayed = replayed_;
  progress.budget_attempts = run_.options.budget_attempts;
  progress.spent_s = spent_s();
  progress.budget_s = run_.options.budget_s;
  progress.floor_ns = work_.floor_ns;
  progress.by_verdict = by_verdict_;
  auto best = finalists();
  if (!best.empty()) progress.best_ns = median_of(*best[0]);
  for (const Evaluation* evaluation : pending_) {
    ++progress.by_verdict[std::string(verdict_name(evaluation->verdict))];
    if (!eligible(*evaluation)) continue;
    double median = timing_of(evaluation->verdict)->median_ns;
    if (progress.best_ns == 0 || median < progress.best_ns) progress.best_ns = median;
  }
  auto baselines = passed_baselines();
  if (!baselines.empty()) {
    progress.baseline_ns = median_of(*baselines[0]);
    progress.baseline = baselines[0]->candidate.note;
  }
  parts_.progress(progress);
}

void Search::accept(const Attempt& attempt) {
  attempts_.push_back(attempt);
  number_of_.emplace(attempt.candidate.id, attempt.number);
  if (!is_baseline(attempt)) {
    ++by_verdict_[std::string(verdict_name(attempt.evaluation.verdict))];
    if (eligible(attempt.evaluation)) {
      const auto at =
          std::upper_bound(ranked_.begin(), ranked_.end(), attempt.number, [&](int a, int b) {
            return faster(&attempts_[static_cast<size_t>(a)], &attempts_[static_cast<size_t>(b)]);
          });
      ranked_.insert(at, attempt.number);
    }
  }
  parts_.proposer.tell(attempt);
}

Result<void> Search::match_record(const std::vector<Attempt>& attempts) const {
  for (const Attempt& attempt : attempts) {
    auto found = recorded_.find(attempt.number);
    if (found == recorded_.end() || found->second.candidate.id == attempt.candidate.id) continue;
    return Error{ErrorKind::kInternal,
                 fmt::format("attempt {} is recorded as candidate {:.12}, but would now be {:.12}",
                             attempt.number, found->second.candidate.id, attempt.candidate.id),
                 "the run was made by another version of Quern; start a new run"};
  }
  return {};
}

/// Evaluates what the record does not have, committing each evaluation as it comes.
Result<Search::Evaluations> Search::evaluate_open(const std::vector<Attempt>& open,
                                                  bool baselines) {
  Evaluations made;
  if (open.empty()) return made;
  QUERN_TRY(parts_.store.begin_attempts(open));
  std::vector<Candidate> candidates;
  for (const Attempt& attempt : open) candidates.push_back(attempt.candidate);
  Result<void> written;
  EvaluateRequest request;
  auto best = finalists();
  if (!best.empty() && !baselines) request.incumbent_ns = median_of(*best[0]);
  const bool timed = !baselines && !replaying() && run_.options.budget_s > 0;
  request.stop = [&] {
    return stopped() || !written || (timed && spent_s() >= run_.options.budget_s);
  };
  request.done = [&](size_t i, const Evaluation& evaluation) {
    int number = open[i].number;
    if (!made.emplace(number, evaluation).second || !written) return;
    written = parts_.store.finish_attempt(number, evaluation, take_spent_s(), now());
    if (!baselines) {
      pending_.push_back(&made.at(number));
      report("search");
    }
  };
  QUERN_ASSIGN(std::vector<Evaluation> all, parts_.evaluator.evaluate(candidates, request));
  for (size_t i = 0; i < all.size(); ++i) request.done(i, all[i]);
  if (!written) return written.error();
  if (made.size() < open.size()) QUERN_TRY(parts_.store.drop_in_flight());
  pending_.clear();
  return made;
}

/// Takes what the record has, evaluates the rest, and accepts all in order of number; cut short
/// before the first one that was not evaluated.
Result<void> Search::evaluate(const std::vector<Attempt>& attempts, bool baselines) {
  QUERN_TRY(match_record(attempts));
  std::vector<Attempt> open;
  for (const Attempt& attempt : attempts) {
    if (!recorded_.contains(attempt.number)) open.push_back(attempt);
  }
  if (!baselines) replayed_ += static_cast<int>(attempts.size() - open.size());
  QUERN_ASSIGN(Evaluations made, evaluate_open(open, baselines));
  for (Attempt attempt : attempts) {
    auto recorded = recorded_.find(attempt.number);
    auto fresh = made.find(attempt.number);
    if (recorded != recorded_.end()) {
      attempt.evaluation = recorded->second.evaluation;
    } else if (fresh != made.end()) {
      attempt.evaluation = fresh->second;
    } else {
      cut_short_ = stopped();
      break;
    }
    accept(attempt);
  }
  return {};
}

Result<void> Search::run_baselines() {
  report("baselines");
  QUERN_ASSIGN(std::vector<Candidate> candidates, parts_.evaluator.baselines());
  std::vector<Attempt> attempts;
  for (Candidate& candidate : candidates) {
    candidate.proposer = "baseline";
    Attempt& attempt = attempts.emplace_back();
    attempt.number = static_cast<int>(attempts.size()) - 1;
    attempt.action = "baseline";
    attempt.candidate = candidate;
  }
  baselines_ = static_cast<int>(attempts.size());
  QUERN_TRY(evaluate(attempts, true));
  for (const Attempt& attempt : attempts_) {
    QUERN_TRY(
        parts_.store.add_baseline(attempt.candidate.note, attempt.number, attempt.candidate.id));
  }
  // Interrupted among the baselines: there is nothing to compare with, so nothing to search for.
  if (static_cast<int>(attempts_.size()) < baselines_) baselines_ = attempts_.size();
  return {};
}

/// The next batch without sources that were tried before; those are only told. Always asks for a
/// whole batch, so that what a proposer is asked does not depend on the budget, and a finished run
/// can go on with a larger one.
Result<std::vector<Attempt>> Search::propose(bool& exhausted) {
  std::vector<Attempt> fresh;
  QUERN_ASSIGN(std::vector<ProposedCandidate> proposals, parts_.proposer.next(policy_.batch));
  exhausted = proposals.empty();
  std::map<std::string, int> batch;
  for (ProposedCandidate& proposal : proposals) {
    const std::string& id = proposal.candidate.id;
    auto known = number_of_.find(id);
    if (known != number_of_.end()) {
      parts_.proposer.tell(attempts_[known->second]);
      continue;
    }
    if (!batch.emplace(id, 0).second) continue;
    Attempt& attempt = fresh.emplace_back();
    attempt.number = static_cast<int>(attempts_.size() + fresh.size()) - 1;
    attempt.candidate = std::move(proposal.candidate);
    attempt.action = std::move(proposal.action);
  }
  if (static_cast<int>(fresh.size()) > room()) fresh.resize(room());
  return fresh;
}

Result<void> Search::run_batches() {
  int fruitless = 0;
  while (true) {
    report("search");
    if (over_budget()) break;
    if (cut_short_ || (stopped() && !replaying())) {
      end_ = SearchEnd::kInterrupted;
      return {};
    }
    bool exhausted = false;
    QUERN_ASSIGN(std::vector<Attempt> batch, propose(exhausted));
    fruitless = batch.empty() ? fruitless + 1 : 0;
    if (exhausted || fruitless >= policy_.fruitless_rounds) {
      end_ = SearchEnd::kExhausted;
      break;
    }
    QUERN_TRY(evaluate(batch, false));
  }
  return parts_.store.set_search_ended(searched());
}

std::vector<const Attempt*> Search::passed_baselines() const {
  std::vector<const Attempt*> list;
  const size_t count = std::min(attempts_.size(), static_cast<size_t>(baselines_));
  for (size_t i = 0; i < count; ++i) {
    if (median_of(attempts_[i]) > 0) list.push_back(&attempts_[i]);
  }
  std::sort(list.begin(), list.end(), faster);
  return list;
}

/// The best candidate and those that noise may have put behind it.
std::vector<const Attempt*> Search::finalists() const {
  std::vector<const Attempt*> list;
  for (int number : ranked_) {
    const Attempt& attempt = attempts_[static_cast<size_t>(number)];
    if (static_cast<int>(list.size()) >= policy_.finalists) break;
    if (!list.empty() && median_of(attempt) > median_of(*list[0]) * (1 + policy_.noise)) break;
    list.push_back(&attempt);
  }
  return list;
}

Result<Duel> Search::duel(const Attempt& candidate, const Attempt& baseline) {
  for (const DuelRecord& record : recorded_duels_) {
    if (record.candidate_id == candidate.candidate.id &&
        record.baseline_id == baseline.candidate.id) {
      return record.duel;
    }
  }
  take_spent_s();
  QUERN_ASSIGN(Duel duel, parts_.evaluator.duel(candidate.candidate, baseline.candidate));
  DuelRecord record{candidate.candidate.id, baseline.candidate.id, duel};
  QUERN_TRY(parts_.store.add_duel(record, take_spent_s()));
  recorded_duels_.push_back(record);
  return duel;
}

Result<void> Search::run_finals() {
  auto list = finalists();
  if (list.empty()) return {};
  report("finals");
  const Attempt* winner = list[0];
  for (size_t i = 1; i < list.size() && end_ != SearchEnd::kInterrupted; ++i) {
    QUERN_ASSIGN(Duel duel, this->duel(*list[i], *winner));
    if (duel.different && duel.low > 1) winner = list[i];
  }
  best_.emplace();
  best_->number = winner->number;
  best_->candidate_id = winner->candidate.id;
  best_->median_ns = median_of(*winner);
  best_->roofline = winner->evaluation.roofline;
  best_->verification_level = std::get<Passed>(winner->evaluation.verdict).level;
  auto baselines = passed_baselines();
  if (!baselines.empty()) {
    QUERN_ASSIGN(best_->duel, duel(*winner, *baselines[0]));
    best_->duel->baseline = baselines[0]->candidate.note;
  }
  return {};
}

Result<RunSummary> Search::summarize() {
  RunSummary summary;
  summary.run_id = run_.run_id;
  summary.end = end_;
  summary.attempts = searched();
  summary.by_verdict = by_verdict_;
  summary.best = best_;
  summary.wall_s = spent_s();
  for (const Attempt* baseline : passed_baselines()) {
    summary.baselines.push_back({baseline->candidate.note, baseline->candidate.id,
                                 median_of(*baseline), baseline->evaluation.roofline});
  }
  bool interrupted = end_ == SearchEnd::kInterrupted;
  QUERN_TRY(parts_.store.set_state(interrupted ? "interrupted" : "finished"));
  QUERN_TRY(parts_.store.add_event("end", interrupted ? "interrupted" : "finished"));
  return summary;
}

}  // namespace

bool RunSummary::improved() const {
  return best && best->duel && best->duel->different && best->duel->low > 1;
}

Result<RunSummary> run_search(SearchParts parts, const SearchPolicy& policy) {
  return Search(parts, policy).run();
}

Json to_json(const RunSummary& summary, const RunOptions& options, const std::string& source_path) {
  auto baseline_json = [](const BaselineTime& b) {
    return Json{{"name", b.name}, {"median_ns", b.median_ns}, {"roofline", b.roofline}};
  };
  Json baselines = Json::array();
  for (const BaselineTime& baseline : summary.baselines)
    baselines.push_back(baseline_json(baseline));
  Json best = nullptr;
  if (summary.best) {
    const BestKernel& b = *summary.best;
    best = {{"candidate_id", b.candidate_id},
            {"number", b.number},
            {"source_path", source_path},
            {"median_ns", b.median_ns}};
    best["speedup"] = b.duel ? Json(b.duel->speedup) : Json(nullptr);
    best["speedup_low"] = b.duel ? Json(b.duel->low) : Json(nullptr);
    best["speedup_high"] = b.duel ? Json(b.duel->high) : Json(nullptr);
    best["roofline"] = b.roofline;
    best["verification_level"] = b.verification_level;
  }
  static constexpr const char* kEnds[] = {"budget", "exhausted", "interrupted", "model_budget"};
  Json json = {{"run_id", summary.run_id}, {"task", options.task_name}, {"size", options.size},
               {"target", options.target}, {"recipe", options.recipe},  {"seed", options.seed}};
  json["attempts"] = {{"total", summary.attempts}, {"by_verdict", summary.by_verdict}};
  json["baseline"] = baselines.empty() ? Json(nullptr) : baselines[0];
  json["baselines"] = baselines;
  json["best"] = best;
  json["improved"] = summary.improved();
  json["ended_by"] = kEnds[static_cast<int>(summary.end)];
  json["wall_s"] = summary.wall_s;
  return json;
}

}  // namespace quern
