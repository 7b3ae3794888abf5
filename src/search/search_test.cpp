// SPDX-License-Identifier: Apache-2.0
#include "search/search.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <random>
#include <thread>

#include "search/simulated_evaluator.h"

namespace quern {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

/// Mutates the best number it knows; what it proposes depends on everything it was told.
class ToyProposer : public Proposer {
 public:
  explicit ToyProposer(uint64_t seed, int values = 100'000) : random_(seed), values_(values) {}

  Result<std::vector<ProposedCandidate>> next(int count) override {
    std::vector<ProposedCandidate> proposals;
    for (int i = 0; i < count && values_ > 0; ++i) {
      int value = static_cast<int>(random_() % static_cast<uint64_t>(values_));
      if (!best_.empty() && random_() % 2) value = (best_value_ + i + 1) % values_;
      ProposedCandidate p;
      p.candidate = make_candidate(fmt::format("int value = {};\n", value), "toy");
      if (!best_.empty()) p.candidate.parents = {best_};
      p.action = fmt::format("set({})", value);
      proposals.push_back(std::move(p));
    }
    return proposals;
  }
  void tell(const Attempt& attempt) override {
    ++told;
    const Timing* timing = timing_of(attempt.evaluation.verdict);
    if (attempt.candidate.proposer == "baseline" || !timing) return;
    if (best_.empty() || timing->median_ns < best_ns_) {
      best_ns_ = timing->median_ns;
      best_ = attempt.candidate.id;
      best_value_ = std::stoi(attempt.candidate.source.substr(12));
    }
  }
  int told = 0;

 private:
  std::mt19937_64 random_;
  int values_;
  std::string best_;
  int best_value_ = 0;
  double best_ns_ = 0;
};

RunOptions options_of(int budget) {
  RunOptions options;
  options.task_name = "toy";
  options.seed = 5;
  options.budget_attempts = budget;
  options.clock = "simulated";
  return options;
}

/// Everything a run decided and saw, without wall-clock times.
std::string trajectory(RunStore& store, const RunSummary& summary) {
  std::string text;
  const std::vector<Attempt> attempts = *store.attempts();
  const std::vector<DuelRecord> duels = *store.duels();
  for (const Attempt& attempt : attempts) text += dump(to_json(attempt)) + "\n";
  for (const DuelRecord& duel : duels) {
    text +=
        fmt::format("{} {} {}\n", duel.candidate_id, duel.baseline_id, dump(to_json(duel.duel)));
  }
  Json json = to_json(summary, options_of(0), "best.cpp");
  json.erase("wall_s");
  json.erase("run_id");
  return text + dump(json);
}

class SearchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "quern-search-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  RunStore memory(const RunOptions& options) {
    return *RunStore::in_memory(options, evaluator_.environment(), evaluator_.work());
  }
  std::string root_;
  SimulatedEvaluator evaluator_{{}};
};

TEST_F(SearchTest, SpendsItsBudgetExactlyAndFindsSomethingFaster) {
  RunStore store = memory(options_of(50));
  ToyProposer proposer(5);
  Result<RunSummary> summary = run_search({evaluator_, proposer, store, {}, {}});
  ASSERT_TRUE(summary) << summary.error().message;
  EXPECT_EQ(summary->attempts, 50);
  EXPECT_EQ(store.attempts()->size(), 52u) << "and two baselines";
  EXPECT_EQ(summary->end, SearchEnd::kBudget);
  EXPECT_TRUE(summary->improved());
  int by_verdict = 0;
  for (const auto& [name, count] : summary->by_verdict) by_verdict += count;
  EXPECT_EQ(by_verdict, 50);
  EXPECT_GT(summary->by_verdict.size(), 3u);
  EXPECT_EQ(store.run()->state, "finished");
}

TEST_F(SearchTest, StampsNoTimeWhereTheClockIsSimulated) {
  RunOptions options = options_of(20);
  for (const std::string clock : {"simulated", "steady"}) {
    options.clock = clock;
    RunStore store = memory(options);
    ToyProposer proposer(1);
    ASSERT_TRUE(run_search({evaluator_, proposer, store, {}, {}}));
    const std::vector<Attempt> attempts = *store.attempts();
    ASSERT_EQ(attempts.size(), 22u);
    for (const Attempt& attempt : attempts) EXPECT_EQ(attempt.time.empty(), clock == "simulated");
  }
}

TEST_F(SearchTest, ReportsAgainstTheFastestBaseline) {
  RunStore store = memory(options_of(30));
  ToyProposer proposer(5);
  Result<RunSummary> summary = run_search({evaluator_, proposer, store, {}, {}});
  ASSERT_TRUE(summary);
  ASSERT_EQ(summary->baselines.size(), 2u);
  EXPECT_LE(summary->baselines[0].median_ns, summary->baselines[1].median_ns);
  EXPECT_EQ(summary->best->duel->baseline, summary->baselines[0].name);
}

TEST_F(SearchTest, PicksTheFastestThatPassed) {
  RunStore store = memory(options_of(40));
  ToyProposer proposer(1);
  Result<RunSummary> summary = run_search({evaluator_, proposer, store, {}, {}});
  ASSERT_TRUE(summary);
  double best = 1e300;
  const std::vector<Attempt> attempts = *store.attempts();
  for (const Attempt& a : attempts) {
    const Timing* t = timing_of(a.evaluation.verdict);
    if (t && a.candidate.proposer != "baseline") best = std::min(best, t->median_ns);
  }
  EXPECT_EQ(summary->best->median_ns, best);
}

TEST_F(SearchTest, StopsWhenTheProposerHasNothingNew) {
  RunStore store = memory(options_of(0));
  ToyProposer proposer(5, 6);
  Result<RunSummary> summary = run_search({evaluator_, proposer, store, {}, {}});
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->end, SearchEnd::kExhausted);
  EXPECT_LE(summary->attempts, 6);
  EXPECT_GT(summary->attempts, 2);
}

TEST_F(SearchTest, EndsWithoutABestWhenNothingPasses) {
  evaluator_ = SimulatedEvaluator({.fail_share = 1.0});
  RunStore store = memory(options_of(10));
  ToyProposer proposer(5);
  Result<RunSummary> summary = run_search({evaluator_, proposer, store, {}, {}});
  ASSERT_TRUE(summary);
  EXPECT_FALSE(summary->best);
  EXPECT_FALSE(summary->improved());
}

TEST_F(SearchTest, DoesNotClaimASlowerKernelAsAnImprovement) {
  evaluator_ = SimulatedEvaluator({.naive_ns = 1e4});
  RunStore store = memory(options_of(10));
  ToyProposer proposer(5);
  Result<RunSummary> summary = run_search({evaluator_, proposer, store, {}, {}});
  ASSERT_TRUE(summary);
  ASSERT_TRUE(summary->best);
  EXPECT_FALSE(summary->improved());
}

TEST_F(SearchTest, RefusesTimesBelowThePhysicsFloorAsRecords) {
  class Alarming : public SimulatedEvaluator {
   public:
    using SimulatedEvaluator::SimulatedEvaluator;
    Result<std::vector<Evaluation>> evaluate(const std::vector<Candidate>& c,
                                             const EvaluateRequest& request) override {
      EvaluateRequest quiet = request;
      quiet.done = nullptr;
      auto all = SimulatedEvaluator::evaluate(c, quiet);
      for (Evaluation& e : *all) e.alarm = "faster than the floor";
      return all;
    }
  } alarming{SimulatedEvaluator::Options{}};
  RunStore store = memory(options_of(10));
  ToyProposer proposer(5);
  Result<RunSummary> summary = run_search({alarming, proposer, store, {}, {}});
  ASSERT_TRUE(summary);
  EXPECT_FALSE(summary->best);
}

TEST_F(SearchTest, EndsSoonAfterAWallBudget) {
  evaluator_ = SimulatedEvaluator({.delay_ms = 2});
  RunOptions options = options_of(0);
  options.budget_s = 0.1;
  RunStore store = memory(options);
  ToyProposer proposer(5);
  Result<RunSummary> summary = run_search({evaluator_, proposer, store, {}, {}});
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->end, SearchEnd::kBudget);
  EXPECT_LE(summary->attempts, 51);
}

TEST_F(SearchTest, ReportsProgressThatOnlyGrows) {
  RunStore store = memory(options_of(30));
  ToyProposer proposer(5);
  std::vector<Progress> seen;
  auto sink = [&](const Progress& progress) { seen.push_back(progress); };
  ASSERT_TRUE(run_search({evaluator_, proposer, store, sink, {}}));
  ASSERT_GT(seen.size(), 4u);
  for (size_t i = 1; i < seen.size(); ++i) EXPECT_GE(seen[i].attempts, seen[i - 1].attempts);
  EXPECT_EQ(seen.back().phase, "done");
  EXPECT_GT(seen.back().best_ns, 0);
}

TEST_F(SearchTest, SavesAndSumsUpWhenInterrupted) {
  RunStore store = memory(options_of(64));
  ToyProposer proposer(5);
  auto stop = [&] { return evaluator_.evaluations() >= 20; };
  Result<RunSummary> summary = run_search({evaluator_, proposer, store, {}, stop});
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->end, SearchEnd::kInterrupted);
  EXPECT_EQ(store.attempts()->size(), 20u);
  EXPECT_TRUE(summary->best && summary->best->duel) << "a claim needs its duel even then";
  EXPECT_EQ(store.run()->state, "interrupted");
}

TEST_F(SearchTest, GoesOnAfterInterruptionsAsIfUnbroken) {
  std::string unbroken;
  {
    RunStore store = memory(options_of(64));
    ToyProposer proposer(5);
    auto summary = run_search({evaluator_, proposer, store, {}, {}});
    unbroken = trajectory(store, *summary);
  }
  RunStore store = memory(options_of(64));
  SimulatedEvaluator counting{{}};
  int limit = 1;
  for (; limit < 70; limit += 7) {
    ToyProposer proposer(5);
    auto stop = [&] { return counting.evaluations() >= limit; };
    ASSERT_TRUE(run_search({counting, proposer, store, {}, stop}));
  }
  ToyProposer proposer(5);
  auto summary = run_search({counting, proposer, store, {}, {}});
  ASSERT_TRUE(summary) << summary.error().message;
  EXPECT_EQ(counting.evaluations(), 66) << "no recorded evaluation is repeated";
  // An interrupted run duels its best of then; those duels are on record as well.
  std::string resumed = trajectory(store, *summary);
  EXPECT_EQ(resumed.substr(resumed.rfind('\n')), unbroken.substr(unbroken.rfind('\n')));
  EXPECT_EQ(resumed.substr(0, resumed.find("\"number\":65")),
            unbroken.substr(0, unbroken.find("\"number\":65")));
}

TEST_F(SearchTest, RepeatsNothingWhenAFinishedRunIsResumed) {
  RunStore store = memory(options_of(24));
  ToyProposer first(5), second(5);
  auto before = run_search({evaluator_, first, store, {}, {}});
  int evaluations = evaluator_.evaluations(), duels = evaluator_.duels();
  auto after = run_search({evaluator_, second, store, {}, {}});
  ASSERT_TRUE(before && after);
  EXPECT_EQ(evaluator_.evaluations(), evaluations);
  EXPECT_EQ(evaluator_.duels(), duels);
  EXPECT_EQ(trajectory(store, *before), trajectory(store, *after));
}

TEST_F(SearchTest, GoesOnWithALargerBudgetAsIfItHadBeenGivenAtOnce) {
  RunStore whole = memory(options_of(40)), grown = memory(options_of(13));
  ToyProposer a(5), b(5), c(5);
  auto expected = run_search({evaluator_, a, whole, {}, {}});
  ASSERT_TRUE(run_search({evaluator_, b, grown, {}, {}}));
  ASSERT_TRUE(grown.set_budget(options_of(40)));
  auto summary = run_search({evaluator_, c, grown, {}, {}});
  ASSERT_TRUE(summary) << summary.error().message;
  EXPECT_EQ(summary->attempts, 40);
  EXPECT_EQ(summary->best->candidate_id, expected->best->candidate_id);
  EXPECT_EQ(grown.attempts()->back().candidate.id, whole.attempts()->back().candidate.id);
}

TEST_F(SearchTest, RefusesARecordThatAnotherProposerMade) {
  RunStore store = memory(options_of(24));
  ToyProposer first(5), other(6);
  ASSERT_TRUE(run_search({evaluator_, first, store, {}, {}}));
  auto summary = run_search({evaluator_, other, store, {}, {}});
  ASSERT_FALSE(summary);
  EXPECT_THAT(summary.error().message, HasSubstr("attempt 2"));
}

/// Runs the search in a process of its own until `deadline` kills it, or to the end.
bool finishes_before_killed(const std::string& directory, int after_us) {
  pid_t child = fork();
  if (child == 0) {
    SimulatedEvaluator evaluator({.delay_ms = 0.3});
    Result<RunStore> store = RunStore::open(directory);
    ToyProposer proposer(5);
    bool ok = store && run_search({evaluator, proposer, *store, {}, {}}).has_value();
    _exit(ok ? 0 : 1);
  }
  std::this_thread::sleep_for(std::chrono::microseconds(after_us));
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFEXITED(status);
}

TEST_F(SearchTest, EndsAsAnUnbrokenRunWhenKilledAtRandomMoments) {
  auto make = [&](const std::string& name) {
    return RunStore::create(root_ + name, options_of(64), evaluator_.environment(),
                            evaluator_.work());
  };
  std::string unbroken;
  {
    auto store = make("/whole");
    ToyProposer proposer(5);
    auto summary = run_search({evaluator_, proposer, *store, {}, {}});
    unbroken = trajectory(*store, *summary);
  }
  ASSERT_TRUE(make("/broken"));
  std::mt19937 random(3);
  size_t recorded = 0;
  for (int kills = 0; kills < 60; ++kills) {
    bool done = finishes_before_killed(root_ + "/broken", 1000 + random() % 12000);
    auto store = RunStore::open(root_ + "/broken");
    ASSERT_TRUE(store) << store.error().message;
    ASSERT_GE(store->attempts()->size(), recorded) << "a recorded attempt was lost";
    recorded = store->attempts()->size();
    if (done) break;
  }
  auto store = RunStore::open(root_ + "/broken");
  ToyProposer proposer(5);
  auto summary = run_search({evaluator_, proposer, *store, {}, {}});
  ASSERT_TRUE(summary) << summary.error().message;
  EXPECT_EQ(trajectory(*store, *summary), unbroken);
}

}  // namespace
}  // namespace quern
