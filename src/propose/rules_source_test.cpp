// SPDX-License-Identifier: Apache-2.0
#include "propose/rules_source.h"

#include <gtest/gtest.h>

#include <set>

#include "codegen/emit_cpu.h"
#include "schedule/schedule.h"
#include "task/parse.h"

namespace quern {
namespace {

Result<ir::Program> softmax() {
  return parse_task(
      "task softmax(batch = 64, dim = 512)\n"
      "input x : f32[batch, dim] ~ uniform(0, 1)\n"
      "m[i] = max[j] x[i, j]\n"
      "e[i, j] = exp(x[i, j] - m[i])\n"
      "s[i] = sum[j] e[i, j]\n"
      "output y[i, j] = e[i, j] / s[i]\n",
      "softmax.task");
}

/// Proposes and answers `rounds` batches with times that depend on the source alone.
std::vector<ProposedCandidate> play(RulesSource& source, int rounds) {
  std::vector<ProposedCandidate> all;
  for (int round = 0; round < rounds; ++round) {
    Result<std::vector<ProposedCandidate>> batch = source.next(8);
    EXPECT_TRUE(batch) << batch.error().message;
    for (const ProposedCandidate& proposed : *batch) {
      Attempt attempt;
      attempt.number = static_cast<int>(all.size());
      attempt.candidate = proposed.candidate;
      Timing timing;
      timing.median_ns = 1000.0 + std::hash<std::string>()(proposed.candidate.id) % 1000;
      attempt.evaluation.verdict = Passed{"V1", "", timing};
      source.tell(attempt);
      all.push_back(proposed);
    }
  }
  return all;
}

class RulesSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<ir::Program> program = softmax();
    ASSERT_TRUE(program) << program.error().message;
    program_ = *program;
    sizes_ = *ir::bind_sizes(program_, "full");
  }
  RulesSource source(uint64_t seed) { return RulesSource(program_, sizes_, {}, seed); }
  ir::Program program_;
  ir::Sizes sizes_;
};

TEST_F(RulesSourceTest, MakesTheSameCandidatesFromTheSameSeedAndAnswers) {
  RulesSource a = source(3), b = source(3), c = source(4);
  std::vector<ProposedCandidate> left = play(a, 5), right = play(b, 5), other = play(c, 5);
  ASSERT_EQ(left.size(), right.size());
  bool differs = left.size() != other.size();
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i].candidate.id, right[i].candidate.id);
    EXPECT_EQ(left[i].action, right[i].action);
    differs = differs || left[i].candidate.id != other[i].candidate.id;
  }
  EXPECT_TRUE(differs);
}

TEST_F(RulesSourceTest, NamesParentsThatWereProposedBefore) {
  RulesSource rules = source(1);
  std::set<std::string> seen;
  int children = 0;
  for (const ProposedCandidate& proposed : play(rules, 6)) {
    for (const std::string& parent : proposed.candidate.parents) {
      EXPECT_TRUE(seen.contains(parent));
      ++children;
    }
    EXPECT_FALSE(proposed.action.empty());
    seen.insert(proposed.candidate.id);
  }
  EXPECT_GT(children, 0);
}

TEST_F(RulesSourceTest, GivesTracesThatReplayToTheSameSource) {
  RulesSource rules = source(1);
  for (const ProposedCandidate& proposed : play(rules, 3)) {
    Result<Trace> trace = parse_trace(proposed.candidate.trace);
    ASSERT_TRUE(trace) << trace.error().message;
    Result<Schedule> schedule = apply(*trace, program_, sizes_);
    ASSERT_TRUE(schedule);
    EXPECT_EQ(*emit_cpu(program_, *schedule), proposed.candidate.source);
  }
}

TEST(StepsBetween, NamesAddedChangedAndRemovedSteps) {
  Trace from = *parse_trace("vectorize(y)\nparallel(y, chunk=1)\nnon_temporal_store(y)\n");
  Trace to = *parse_trace("vectorize(y)\nparallel(y, chunk=8)\n");
  EXPECT_EQ(steps_between(from, to), "parallel(y, chunk=8); without non_temporal_store(y)");
  EXPECT_EQ(steps_between({}, to), "vectorize(y); parallel(y, chunk=8)");
}

}  // namespace
}  // namespace quern
