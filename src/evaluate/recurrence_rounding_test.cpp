// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "codegen/prelude.h"
#include "evaluate/local_evaluator.h"
#include "task/parse.h"

/// What the rounding bound of a long recurrence accepts and refuses.
namespace quern {
namespace {

constexpr const char* kTask = R"(task cell(batch = 2, seq = 512, hidden = 32)
input x : f32[seq, batch, 4 * hidden]
param u : f32[4 * hidden, hidden] ~ uniform(-0.1767766952966369, 0.1767766952966369)
g[t < seq, b < batch, q < 4 * hidden] = x[t, b, q] + sum[k] u[q, k] * (h[t - 1, b, k] else 0)
c[t < seq, b < batch, j < hidden] = sigmoid(g[t, b, hidden + j]) * (c[t - 1, b, j] else 0) +
  sigmoid(g[t, b, j]) * tanh(g[t, b, 2 * hidden + j])
output h[t < seq, b < batch, j < hidden] = sigmoid(g[t, b, 3 * hidden + j]) * tanh(c[t, b, j])
)";

/// Sums from the last term to the first, and another formula for the hyperbolic tangent.
constexpr const char* kKernel = R"(
#include <cmath>
#include <cstring>
#include <vector>
static float hyperbolic(float x) {
  const float t = std::fabs(x), e = std::exp(-2 * t), z = x * x;
  const float y = t < 0.1f ? t * (1 - z / 3 + z * z * 2 / 15) : (1 - e) / (1 + e);
  return x < 0 ? -y : y;
}
static float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }
extern "C" void cell(long batch, long seq, long hidden, const float* x, const float* given,
                     float* h) {
  std::vector<float> u(given, given + 4 * hidden * hidden);
#ifdef NARROW
  for (float& v : u) {
    unsigned bits;
    std::memcpy(&bits, &v, 4);
    bits &= 0xffffe000u;
    std::memcpy(&v, &bits, 4);
  }
#endif
  for (long b = 0; b < batch; ++b) {
    std::vector<float> c(hidden, 0.0f), before(hidden, 0.0f), gate(4 * hidden);
    for (long t = 0; t < seq; ++t) {
      for (long q = 0; q < 4 * hidden; ++q) {
        float sum = 0;
        for (long k = hidden; k-- > 0;) sum += u[q * hidden + k] * before[k];
        gate[q] = sum + x[(t * batch + b) * 4 * hidden + q];
      }
      float* const now = h + (t * batch + b) * hidden;
      for (long j = 0; j < hidden; ++j) {
        float in = gate[j], forget = gate[hidden + j];
#ifdef SWAPPED
        const float other = in;
        in = forget;
        forget = other;
#endif
        c[j] = sigmoid(forget) * c[j] + sigmoid(in) * hyperbolic(gate[2 * hidden + j]);
        now[j] = sigmoid(gate[3 * hidden + j]) * hyperbolic(c[j]);
#ifdef SHORT
        if (t > 0 && t + 1 == seq) now[j] = now[j - batch * hidden];
#endif
      }
#ifdef STALE
      if (t % 100 == 99) continue;
#endif
      before.assign(now, now + hidden);
    }
  }
}
)";

TEST(RecurrenceRounding, PassesAnotherOrderAndRefusesWrongStatesAfterManySteps) {
  const ir::Program program = std::move(parse_task(kTask, "test.task")).value();
  LocalEvaluator::Options options;
  options.compiler.cache_dir = testing::TempDir() + "quern_evaluate_test";
  options.compiler.prelude = cpu_prelude();
  options.threads = 2;
  options.seed = 11;
  options.clock = "simulated";
  auto referee = LocalEvaluator::make(program, *ir::bind_sizes(program, "full"), options);
  ASSERT_TRUE(referee) << referee.error().message;
  const char* variants[] = {"HONEST", "STALE", "SWAPPED", "SHORT", "NARROW"};
  std::vector<Candidate> batch;
  for (const char* variant : variants) {
    batch.push_back(make_candidate("#define " + std::string(variant) + "\n" + kKernel, "human"));
  }
  const auto evaluations = (*referee)->evaluate(batch, {});
  ASSERT_TRUE(evaluations) << evaluations.error().message;
  for (size_t v = 0; v < batch.size(); ++v) {
    const Verdict& verdict = (*evaluations)[v].verdict;
    EXPECT_EQ(std::string(verdict_name(verdict)), v == 0 ? "passed" : "wrong_result")
        << variants[v] << ": " << verdict_reason(verdict) << "\n"
        << verdict_evidence(verdict);
  }
}

}  // namespace
}  // namespace quern
