// SPDX-License-Identifier: Apache-2.0
#include "search/recipe_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/random.h"
#include "base/strings.h"
#include "base/suggest.h"

namespace quern {
namespace {

struct KindRow {
  EqualBudget::Kind kind;
  const char* name;
  const char* what;
};
constexpr KindRow kKinds[] = {
    {EqualBudget::Kind::kAttempts, "attempts", "candidates"},
    {EqualBudget::Kind::kCalls, "calls", "calls of models"},
    {EqualBudget::Kind::kUsd, "usd", "US dollars"},
    {EqualBudget::Kind::kSeconds, "seconds", "seconds of wall time"},
};

const KindRow& row_of(EqualBudget::Kind kind) { return kKinds[static_cast<size_t>(kind)]; }

double median_of(const Attempt& attempt) {
  const Timing* timing = timing_of(attempt.evaluation.verdict);
  return timing ? timing->median_ns : 0;
}

/// Notes what was spent by the time that each candidate was proposed.
class Metered : public Proposer {
 public:
  Metered(Proposer& inner, const CallLog& log) : inner_(inner), log_(log) {}
  Result<std::vector<ProposedCandidate>> next(int count) override {
    auto proposed = inner_.next(count);
    if (!proposed) return proposed;
    for (const ProposedCandidate& made : *proposed) spent_.emplace(made.candidate.id, log_.spent());
    return proposed;
  }
  void tell(const Attempt& attempt) override { inner_.tell(attempt); }
  const std::map<std::string, llm::Spend>& spent() const { return spent_; }

 private:
  Proposer& inner_;
  const CallLog& log_;
  std::map<std::string, llm::Spend> spent_;
};

/// Share of the budget that was used when attempt `index` of `count` was judged. Where time is what
/// is equal, attempts are taken to have lasted equally long.
double used_share(const EqualBudget& equal, const llm::Spend& spent, int index, int count,
                  double wall_s) {
  double used = index + 1;
  if (equal.kind == EqualBudget::Kind::kCalls && spent.calls > 0) {
    used = static_cast<double>(spent.calls);
  }
  if (equal.kind == EqualBudget::Kind::kUsd) used = static_cast<double>(spent.nano_usd) * 1e-9;
  if (equal.kind == EqualBudget::Kind::kSeconds) used = wall_s * (index + 1) / std::max(1, count);
  return std::clamp(used / equal.amount, 0.0, 1.0);
}

/// The steps at which the best so far got better.
std::vector<CurveStep> curve_of(const RecordedRun& recorded, const EqualBudget& equal,
                                const std::map<std::string, llm::Spend>& spent, double naive_ns) {
  std::vector<CurveStep> curve;
  const std::vector<double> best = best_so_far(recorded.attempts);
  const int count = static_cast<int>(best.size());
  for (int i = 0; i < count; ++i) {
    const std::string& id = recorded.attempts[recorded.baselines() + i].candidate.id;
    const auto found = spent.find(id);
    const double speedup = best[i] > 0 ? std::max(1.0, naive_ns / best[i]) : 1;
    if (speedup <= (curve.empty() ? 1 : curve.back().speedup)) continue;
    const llm::Spend until = found == spent.end() ? llm::Spend{} : found->second;
    curve.push_back({used_share(equal, until, i, count, recorded.run.spent_s), speedup});
  }
  return curve;
}

double area_under(const std::vector<CurveStep>& curve) {
  double area = 0;
  for (size_t i = 0; i < curve.size(); ++i) {
    const double until = i + 1 < curve.size() ? curve[i + 1].at : 1;
    area += (until - curve[i].at) * std::log(curve[i].speedup);
  }
  return area;
}

/// Attempts by candidate id, with the calls that wrote each.
std::map<std::string, CreditedAttempt> credited(const RecordedRun& recorded,
                                                const Proposer& proposer,
                                                const std::vector<CreditCall>& calls) {
  std::map<std::string, CreditedAttempt> made;
  for (const Attempt& attempt : recorded.attempts) {
    if (attempt.candidate.proposer == "baseline") continue;
    const auto& parents = attempt.candidate.parents;
    made[attempt.candidate.id] = {
        attempt.action, parents.empty() ? "" : parents[0], median_of(attempt), {}};
  }
  const auto* recipe = dynamic_cast<const RecipeProposer*>(&proposer);
  if (recipe == nullptr) return made;
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto found = made.find(recipe->candidate_id(calls[i].node));
    if (found != made.end()) found->second.calls.push_back(i);
  }
  return made;
}

struct Fastest {
  double naive_ns = 0, baseline_ns = 0;
};
Fastest baselines_of(const RecordedRun& recorded) {
  Fastest fastest;
  for (const Attempt& attempt : recorded.attempts) {
    const double median = median_of(attempt);
    if (attempt.candidate.proposer != "baseline" || median <= 0) continue;
    if (attempt.candidate.note == "naive") fastest.naive_ns = median;
    if (fastest.baseline_ns == 0 || median < fastest.baseline_ns) fastest.baseline_ns = median;
  }
  return fastest;
}

/// Runs by recipe, task and seed, in order of first appearance.
struct Cells {
  std::vector<std::string> recipes, tasks;
  std::map<std::string, std::map<std::string, std::vector<const BenchRun*>>> runs;
};
Cells cells_of(const std::vector<BenchRun>& runs) {
  Cells cells;
  const auto note = [](std::vector<std::string>& names, const std::string& name) {
    if (std::ranges::count(names, name) == 0) names.push_back(name);
  };
  for (const BenchRun& run : runs) {
    note(cells.recipes, run.recipe);
    note(cells.tasks, run.task);
    cells.runs[run.recipe][run.task].push_back(&run);
  }
  return cells;
}

/// A drawn sample: for each task drawn, the indices of the seeds drawn.
using Draw = std::vector<std::pair<std::string, std::vector<size_t>>>;

Draw draw(const Cells& cells, size_t seeds, Random& random) {
  Draw made;
  for (size_t i = 0; i < cells.tasks.size(); ++i) {
    auto& [task, picked] =
        made.emplace_back(cells.tasks[random.below(cells.tasks.size())], std::vector<size_t>());
    for (size_t j = 0; j < seeds; ++j) picked.push_back(random.below(seeds));
  }
  return made;
}

using Value = double (*)(const BenchRun&);

double mean_of(const Cells& cells, const std::string& recipe, const Draw& draw, Value value) {
  double sum = 0;
  size_t count = 0;
  for (const auto& [task, seeds] : draw) {
    const auto& runs = cells.runs.at(recipe).at(task);
    for (size_t seed : seeds) {
      sum += value(*runs[std::min(seed, runs.size() - 1)]);
      ++count;
    }
  }
  return count == 0 ? 0 : sum / static_cast<double>(count);
}

/// The 2.5 % and 97.5 % points of the draws.
Interval interval_of(double value, std::vector<double> draws) {
  if (draws.empty()) return {value, value, value};
  std::sort(draws.begin(), draws.end());
  const auto at = [&](double share) {
    return draws[static_cast<size_t>(std::lround(share * static_cast<double>(draws.size() - 1)))];
  };
  return {value, at(0.025), at(0.975)};
}

Interval exp_of(const Interval& logs) {
  return {std::exp(logs.value), std::exp(logs.low), std::exp(logs.high)};
}

double log_over_naive(const BenchRun& run) { return std::log(run.over_naive); }
double log_over_baseline(const BenchRun& run) { return std::log(run.over_baseline); }
double is_verified(const BenchRun& run) { return run.verified ? 1 : 0; }
double is_improved(const BenchRun& run) { return run.improved ? 1 : 0; }
double area(const BenchRun& run) { return run.area; }

void sort_credit(std::vector<CreditRow>& rows) {
  std::ranges::stable_sort(rows, [](const CreditRow& a, const CreditRow& b) {
    return a.kind != b.kind ? a.kind < b.kind : a.credit > b.credit;
  });
}

}  // namespace

Result<EqualBudget> parse_equal(const std::string& text) {
  const size_t sign = text.find('=');
  const std::string name = text.substr(0, sign);
  std::vector<std::string> names;
  EqualBudget equal;
  bool known = false;
  for (const KindRow& row : kKinds) {
    names.emplace_back(row.name);
    if (name != row.name) continue;
    equal.kind = row.kind;
    known = true;
  }
  char* end = nullptr;
  const std::string amount = sign == std::string::npos ? "" : text.substr(sign + 1);
  equal.amount = std::strtod(amount.c_str(), &end);
  const bool whole =
      equal.kind == EqualBudget::Kind::kAttempts || equal.kind == EqualBudget::Kind::kCalls;
  const bool number = !amount.empty() && *end == 0 && equal.amount > 0 && equal.amount < 1e9 &&
                      (!whole || equal.amount == std::floor(equal.amount));
  if (known && number) return equal;
  std::string hint = known ? "" : did_you_mean(name, names);
  if (hint.empty()) hint = "one of: attempts=32, calls=40, usd=0.5, seconds=600";
  return Error{ErrorKind::kUsage, fmt::format("'{}' is not a budget to compare at", text), hint};
}

std::string print(const EqualBudget& equal) {
  return fmt::format("{:g} {}", equal.amount, row_of(equal.kind).what);
}

Result<BenchRun> measure_run(const RecordedRun& recorded, const EqualBudget& equal,
                             Proposer& proposer, const CallLog& log) {
  Metered metered(proposer, log);
  QUERN_ASSIGN(const ReplayOutcome outcome, replay_run(recorded, metered));
  const RunOptions& options = recorded.run.options;
  BenchRun run;
  run.recipe = options.recipe;
  run.task = options.task_name;
  run.seed = options.seed;
  run.attempts = recorded.searched();
  run.spend = log.spent();
  run.wall_s = recorded.run.spent_s;
  for (const ReplayDifference& difference : outcome.differences) {
    run.differences.push_back(fmt::format("attempt {}, {}: recorded {}, replayed {}",
                                          difference.number, difference.field, difference.recorded,
                                          difference.replayed));
  }
  const Fastest baselines = baselines_of(recorded);
  if (baselines.naive_ns <= 0) {
    return Error{ErrorKind::kInput,
                 fmt::format("run {}: the plain version has no time", recorded.run.run_id), ""};
  }
  run.over_baseline = baselines.baseline_ns / baselines.naive_ns;
  if (outcome.best) {
    run.verified = true;
    run.over_naive = std::max(1.0, baselines.naive_ns / outcome.best->median_ns);
    const auto& duel = outcome.best->duel;
    run.improved = duel && duel->different && duel->low > 1;
    if (duel) run.over_baseline = duel->speedup;
    // A pair of medians was taken at two moments; the duel is of one.
    if (duel && duel->baseline == "naive") run.over_naive = std::max(1.0, duel->speedup);
  }
  run.curve = curve_of(recorded, equal, metered.spent(), baselines.naive_ns);
  run.area = area_under(run.curve);
  run.credit = credit_rows(credited(recorded, proposer, log.calls()), log.calls(),
                           outcome.best ? outcome.best->candidate_id : "", baselines.naive_ns);
  return run;
}

std::vector<RecipeScore> score_recipes(const std::vector<BenchRun>& runs, int draws) {
  const Cells cells = cells_of(runs);
  size_t seeds = 0;
  for (const auto& [recipe, tasks] : cells.runs) {
    for (const auto& [task, list] : tasks) seeds = std::max(seeds, list.size());
  }
  Draw all;
  for (const std::string& task : cells.tasks) {
    all.emplace_back(task, std::vector<size_t>());
    for (size_t i = 0; i < seeds; ++i) all.back().second.push_back(i);
  }
  Random random(1);
  std::vector<Draw> samples;
  for (int i = 0; i < draws; ++i) samples.push_back(draw(cells, seeds, random));
  std::vector<RecipeScore> scores;
  for (const std::string& recipe : cells.recipes) {
    const auto over = [&](Value value, const std::string& against = "") {
      const auto of = [&](const Draw& sample) {
        const double mean = mean_of(cells, recipe, sample, value);
        return against.empty() ? mean : mean - mean_of(cells, against, sample, value);
      };
      std::vector<double> values;
      for (const Draw& sample : samples) values.push_back(of(sample));
      return interval_of(of(all), std::move(values));
    };
    RecipeScore& score = scores.emplace_back();
    score.recipe = recipe;
    score.over_naive = exp_of(over(log_over_naive));
    score.over_baseline = exp_of(over(log_over_baseline));
    score.verified = over(is_verified);
    score.improved = over(is_improved);
    score.area = exp_of(over(area));
    score.over_first = exp_of(over(log_over_naive, cells.recipes.front()));
    for (const BenchRun& run : runs) {
      if (run.recipe != recipe) continue;
      ++score.runs;
      score.attempts += run.attempts;
      score.spend += run.spend;
      score.wall_s += run.wall_s;
      add_credit(score.credit, run.credit);
    }
    sort_credit(score.credit);
  }
  return scores;
}

}  // namespace quern
