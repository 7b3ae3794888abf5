// SPDX-License-Identifier: Apache-2.0
#include "evaluate/local_evaluator.h"

#include <gtest/gtest.h>

#include <thread>

#include "codegen/prelude.h"
#include "task/parse.h"

namespace quern {
namespace {

constexpr const char* kRelu = R"(task relu(n = 65536)
sizes tiny: n = 17
input x : f32[n]
output y[i] = max(x[i], 0)
)";

constexpr const char* kMatmul = R"(task matmul(m = 64, n = 96, k = 128)
sizes tiny: m = 3, n = 5, k = 7
input a : f32[m, k]
input b : f32[k, n]
output c[i, j] = sum[p] a[i, p] * b[p, j]
)";

std::unique_ptr<LocalEvaluator> evaluator(const char* text, const std::string& clock = "steady") {
  const ir::Program program = std::move(parse_task(text, "test.task")).value();
  LocalEvaluator::Options options;
  options.compiler.cache_dir = testing::TempDir() + "quern_evaluate_test";
  options.compiler.prelude = cpu_prelude();
  options.threads = 2;
  options.seed = 11;
  options.clock = clock;
  options.hang_s = 2;
  return std::move(LocalEvaluator::make(program, *ir::bind_sizes(program, "full"), options))
      .value();
}

Evaluation evaluate(LocalEvaluator& referee, const std::string& source) {
  const auto evaluations = referee.evaluate({make_candidate(source, "human")}, {});
  EXPECT_TRUE(evaluations.has_value()) << evaluations.error().message;
  return evaluations->front();
}

std::string story(const Evaluation& evaluation) {
  return std::string(verdict_name(evaluation.verdict)) + ": " + verdict_reason(evaluation.verdict) +
         "\n" + verdict_evidence(evaluation.verdict);
}

std::string breach(const Evaluation& evaluation) {
  const auto* rejected = std::get_if<Rejected>(&evaluation.verdict);
  return rejected != nullptr ? rejected->breach : "";
}

constexpr const char* kGood = R"(
extern "C" void relu(long n, const float* x, float* y) {
  for (long i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
)";

/// A different source each time, for what is the same kernel.
std::string good(int number) { return kGood + std::string("// ") + std::to_string(number); }

TEST(LocalEvaluator, PassesAnHonestKernelAtTheHighestLevel) {
  auto referee = evaluator(kRelu);
  const Evaluation evaluation = evaluate(*referee, kGood);
  ASSERT_TRUE(passed(evaluation.verdict)) << story(evaluation);
  EXPECT_EQ(std::get<Passed>(evaluation.verdict).level, "V2");
  const Timing& timing = *timing_of(evaluation.verdict);
  EXPECT_GT(timing.median_ns, 0);
  EXPECT_GT(timing.calls_per_sample, 10) << "a kernel of microseconds is timed in batches";
  EXPECT_LE(timing.low_ns, timing.median_ns);
  EXPECT_GE(timing.high_ns, timing.median_ns);
}

TEST(LocalEvaluator, EveryThreadMayEvaluateInTurn) {
  const auto referee = evaluator(kRelu, "simulated");
  for (int turn = 0; turn < 3; ++turn) {
    std::thread([&] {
      const Evaluation evaluation = evaluate(*referee, good(turn));
      EXPECT_TRUE(std::holds_alternative<Passed>(evaluation.verdict)) << story(evaluation);
    }).join();
  }
}

TEST(LocalEvaluator, ABatchMixesOursWithCandidatesThatFailAndPass) {
  const auto referee = evaluator(kRelu, "simulated");
  const auto baselines = referee->baselines();
  ASSERT_TRUE(baselines);
  const std::string crash =
      "extern \"C\" void relu(long, const float*, float*) { __builtin_trap(); }";
  const std::vector<Candidate> batch = {
      make_candidate(good(10), "human"), baselines->front(), make_candidate(crash, "human"),
      make_candidate("no C++", "human"), make_candidate(good(11), "human")};
  const auto evaluations = referee->evaluate(batch, {});
  ASSERT_TRUE(evaluations) << evaluations.error().message;
  std::vector<std::string> verdicts;
  for (const Evaluation& evaluation : *evaluations) {
    verdicts.emplace_back(verdict_name(evaluation.verdict));
  }
  EXPECT_EQ(verdicts,
            (std::vector<std::string>{"passed", "passed", "crashed", "compile_failed", "passed"}));
}

TEST(LocalEvaluator, AnswersIdenticalCandidatesFromItsCache) {
  auto referee = evaluator(kRelu);
  const Evaluation first = evaluate(*referee, kGood);
  const Evaluation second = evaluate(*referee, kGood);
  EXPECT_FALSE(first.cached);
  EXPECT_TRUE(second.cached);
  EXPECT_EQ(timing_of(first.verdict)->samples_ns, timing_of(second.verdict)->samples_ns);
}

TEST(LocalEvaluator, CatchesAKernelThatIsWrongAtOddSizesOnly) {
  auto referee = evaluator(kRelu);
  const Evaluation evaluation = evaluate(*referee, R"(
extern "C" void relu(long n, const float* x, float* y) {
  for (long i = 0; i < n / 16 * 16; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
)");
  EXPECT_EQ(verdict_name(evaluation.verdict), "wrong_result") << story(evaluation);
  EXPECT_NE(story(evaluation).find("never written"), std::string::npos) << story(evaluation);
}

TEST(LocalEvaluator, CatchesAKernelThatRemembersResultsByPointer) {
  auto referee = evaluator(kRelu);
  const Evaluation evaluation = evaluate(*referee, R"(
#include <stdlib.h>
#include <string.h>
static const float* seen[64];
static float* kept[64];
static int calls[64], known;
extern "C" void relu(long n, const float* x, float* y) {
  for (int i = 0; i < known; ++i) {
    if (seen[i] != x) continue;
    if (++calls[i] > 3) { memcpy(y, kept[i], n * sizeof(float)); return; }
    for (long j = 0; j < n; ++j) kept[i][j] = y[j] = x[j] > 0 ? x[j] : 0;
    return;
  }
  seen[known] = x;
  kept[known] = (float*)malloc(n * sizeof(float));
  for (long j = 0; j < n; ++j) kept[known][j] = y[j] = x[j] > 0 ? x[j] : 0;
  if (known < 63) ++known;
}
)");
  EXPECT_EQ(breach(evaluation), "stale_output") << story(evaluation);
}

TEST(LocalEvaluator, CatchesNondeterminism) {
  auto referee = evaluator(kRelu);
  const Evaluation evaluation = evaluate(*referee, R"(
static unsigned calls;
extern "C" void relu(long n, const float* x, float* y) {
  const float wobble = 1 + (++calls & 1) * 1.2e-7f;
  for (long i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] * wobble : 0;
}
)");
  EXPECT_EQ(verdict_name(evaluation.verdict), "wrong_result") << story(evaluation);
}

TEST(LocalEvaluator, CatchesOperandsNarrowerThanTheContract) {
  auto referee = evaluator(kMatmul);
  const auto product = [](const std::string& operand) {
    return R"(
static inline float narrow(float v) {
  unsigned bits; __builtin_memcpy(&bits, &v, 4); bits &= 0xffffe000u;
  __builtin_memcpy(&v, &bits, 4); return v;
}
extern "C" void matmul(long m, long n, long k, const float* a, const float* b, float* c) {
  for (long i = 0; i < m; ++i) for (long j = 0; j < n; ++j) {
    float sum = 0;
    for (long p = 0; p < k; ++p) sum += )" +
           operand + R"( * b[p * n + j];
    c[i * n + j] = sum;
  }
}
)";
  };
  const Evaluation honest = evaluate(*referee, product("a[i * k + p]"));
  EXPECT_TRUE(passed(honest.verdict)) << story(honest);
  const Evaluation tf32 = evaluate(*referee, product("narrow(a[i * k + p])"));
  EXPECT_EQ(verdict_name(tf32.verdict), "wrong_result") << story(tf32);
}

TEST(LocalEvaluator, SpecialisedCandidatesAreBuiltForEveryShape) {
  auto referee = evaluator(kRelu);
  const Evaluation evaluation = evaluate(*referee, R"(// quern: specialize = sizes
extern "C" void relu(long, const float* x, float* y) {
  for (long i = 0; i < QUERN_SIZE_n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
}
)");
  EXPECT_TRUE(passed(evaluation.verdict)) << story(evaluation);
}

TEST(LocalEvaluator, BadPlanLinesAreTheCandidatesFault) {
  auto referee = evaluator(kRelu);
  const Evaluation evaluation = evaluate(*referee, std::string("// quern: entri = relu\n") + kGood);
  EXPECT_EQ(verdict_name(evaluation.verdict), "compile_failed") << story(evaluation);
}

TEST(LocalEvaluator, GivesEqualTimesForEqualSourcesUnderTheSimulatedClock) {
  const Evaluation first = evaluate(*evaluator(kRelu, "simulated"), kGood);
  const Evaluation second = evaluate(*evaluator(kRelu, "simulated"), kGood);
  ASSERT_TRUE(passed(first.verdict)) << story(first);
  EXPECT_EQ(timing_of(first.verdict)->median_ns, timing_of(second.verdict)->median_ns);
  EXPECT_EQ(timing_of(first.verdict)->clock, "simulated");
}

TEST(LocalEvaluator, ALongSumHasABaselineThatIsRight) {
  auto referee = evaluator(
      "task energy(n = 131072)\ninput x : f32[n] ~ uniform(0, 1)\n"
      "output y = sum[i < n] select(i < 1, 16777216, x[i])\n");
  const auto baselines = *referee->baselines();
  ASSERT_EQ(baselines.size(), 2u);
  EXPECT_EQ(baselines[1].note, "naive-wide");
  const auto evaluations = *referee->evaluate(baselines, {});
  EXPECT_EQ(verdict_name(evaluations[0].verdict), "wrong_result")
      << "beside 2^24, one f32 accumulator loses whatever is below 1";
  EXPECT_TRUE(passed(evaluations[1].verdict)) << story(evaluations[1]);
}

TEST(LocalEvaluator, BaselinesPassAndDuelsNameThem) {
  auto referee = evaluator(kMatmul);
  const auto baselines = *referee->baselines();
  ASSERT_FALSE(baselines.empty());
  EXPECT_EQ(baselines[0].note, "naive");
  const auto evaluations = *referee->evaluate(baselines, {});
  for (size_t i = 0; i < baselines.size(); ++i) {
    EXPECT_TRUE(passed(evaluations[i].verdict)) << baselines[i].note << story(evaluations[i]);
  }
  const Duel duel = *referee->duel(baselines[0], baselines[0]);
  EXPECT_EQ(duel.baseline, "naive");
  EXPECT_GE(duel.pairs, 5);
  EXPECT_LE(duel.low, duel.speedup);
  EXPECT_GE(duel.high, duel.speedup);
}

TEST(LocalEvaluator, SaysHowMuchMemoryATaskNeeds) {
  const ir::Program program = std::move(parse_task(kRelu, "test.task")).value();
  LocalEvaluator::Options options;
  options.compiler.cache_dir = testing::TempDir() + "quern_evaluate_test";
  const auto sizes = ir::bind_sizes(program, {{"n", int64_t{1} << 40}});
  const auto made = LocalEvaluator::make(program, *sizes, options);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kEnvironment);
  EXPECT_NE(made.error().message.find("GiB of memory"), std::string::npos);
}

}  // namespace
}  // namespace quern
