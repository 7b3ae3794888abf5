// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "codegen/reference.h"
#include "ir/interpret.h"
#include "task/parse.h"
#include "verify/mutants.h"
#include "verify/workload.h"

namespace quern {
namespace {

constexpr const char* kSoftmax = R"(task softmax(batch = 64, dim = 512)
sizes tiny: batch = 3, dim = 17
input x : f32[batch, dim]
m[i] = max[j] x[i, j]
e[i, j] = exp(x[i, j] - m[i])
s[i] = sum[j] e[i, j]
output y[i, j] = e[i, j] / s[i]
)";

constexpr const char* kMatmul = R"(task matmul(m = 64, n = 96, k = 128)
sizes tiny: m = 3, n = 5, k = 7
input a : f32[m, k]
input b : f32[k, n]
output c[i, j] = sum[p] a[i, p] * b[p, j]
)";

class Verify : public testing::Test {
 protected:
  static CpuCompiler& compiler() {
    static const std::unique_ptr<CpuCompiler> kCompiler = [] {
      CompilerOptions options;
      options.cache_dir = testing::TempDir() + "quern_verify_test";
      return std::move(CpuCompiler::make(options)).value();
    }();
    return *kCompiler;
  }
  static ir::Program parse(const char* text) {
    return std::move(parse_task(text, "test.task")).value();
  }
  static Oracle oracle(const ir::Program& program) {
    return std::move(Oracle::make(program, compiler(), 2)).value();
  }
  static Binary naive(const ir::Program& program) {
    CompileJob job;
    job.source = emit_naive(program);
    job.trusted = true;
    return compiler().compile(job).value();
  }
};

ir::Tensors<double> inputs_of(const ir::Program& program, const Dataset& data) {
  ir::Tensors<double> inputs;
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    std::vector<float> values(data.inputs[i].size() / sizeof(float));
    std::memcpy(values.data(), data.inputs[i].data(), data.inputs[i].size());
    inputs[program.inputs[i].name] = std::vector<double>(values.begin(), values.end());
  }
  return inputs;
}

/// Two reductions to single numbers, and two scans along the only axis.
constexpr const char* kWholes = R"(task wholes(n = 64)
sizes tiny: n = 7
input x : f32[n]
m = max[i] x[i]
s = sum[i] exp(x[i] - m)
c[i] = scan_sum[i] x[i]
output y[i] = scan_max[i] c[i] / s
)";

TEST_F(Verify, OracleAgreesWithTheInterpreter) {
  for (const char* text : {kSoftmax, kMatmul, kWholes}) {
    const ir::Program program = parse(text);
    const ir::Sizes sizes = *ir::bind_sizes(program, "tiny");
    Dataset data = draw_dataset(program, sizes, {InputMix::Kind::kNormal}, 5);
    ASSERT_TRUE(oracle(program).expect(sizes, data));
    const auto tensors = ir::run<double>(program, sizes, inputs_of(program, data));
    const ExpectedOutput& output = data.outputs.at(0);
    const auto& wanted = tensors.at(output.name);
    ASSERT_EQ(output.value.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_NEAR(output.value[i], wanted[i], 1e-14 * std::abs(wanted[i]) + 1e-300);
      EXPECT_GT(output.scale[i], 0);
    }
  }
}

TEST_F(Verify, MatmulHasExactProbesAndSoftmaxHasNone) {
  const ir::Program matmul = parse(kMatmul);
  const Oracle matmul_oracle = oracle(matmul);
  const Binary matmul_naive = naive(matmul);
  const Workload exact = *WorkloadMaker{matmul, matmul_oracle, matmul_naive, 2}.hidden(3);
  EXPECT_GE(probe_level_of(exact), 0);
  int meters = 0;
  for (const Dataset& data : exact.datasets) meters += data.mix.kind == InputMix::Kind::kMeter;
  EXPECT_EQ(meters, 2) << "one precision meter for each operand";
  const ir::Program softmax = parse(kSoftmax);
  const Oracle softmax_oracle = oracle(softmax);
  const Binary softmax_naive = naive(softmax);
  const Workload rounded = *WorkloadMaker{softmax, softmax_oracle, softmax_naive, 2}.hidden(3);
  EXPECT_EQ(probe_level_of(rounded), -1);
}

TEST_F(Verify, TimedWorkloadProbesAtFullSize) {
  const ir::Program program = parse(kMatmul);
  const Oracle referee = oracle(program);
  const Binary trusted = naive(program);
  const WorkloadMaker maker{program, referee, trusted, 2};
  const Workload timed = *maker.timed(*ir::bind_sizes(program, "full"), 9, 0);
  ASSERT_EQ(timed.datasets.size(), 4u) << "two under the bound, a twin, a probe";
  ASSERT_EQ(timed.twin, 2);
  int altered = 0;
  for (size_t i = 0; i < timed.datasets[0].inputs[0].size(); ++i) {
    altered += timed.datasets[0].inputs[0][i] != timed.datasets[2].inputs[0][i];
  }
  EXPECT_GT(altered, 0);
  EXPECT_TRUE(timed.policies.back().bitwise);
  EXPECT_TRUE(timed.datasets.back().exact);
}

TEST_F(Verify, HiddenSizesDifferFromTheDeclaredOnesAndKeepOperatorConstants) {
  const ir::Program program = parse(R"(task pool(n = 8, w = 64, k = 3)
sizes tiny: n = 2, w = 9
let o = w - k + 1
input x : f32[n, w]
output y[i, j < o] = max[r < k] x[i, j + r]
)");
  int new_widths = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const ir::Sizes sizes = hidden_sizes(program, seed, 10000);
    EXPECT_EQ(sizes.at("k"), 3);
    EXPECT_GE(sizes.at("w"), 3);
    new_widths += sizes.at("w") != 64 && sizes.at("w") != 9;
  }
  EXPECT_GE(new_widths, 15);
}

/// One number, which no constant nor the half of a list can pass for.
constexpr const char* kLoss = R"(task loss(n = 4096, c = 64)
sizes tiny: n = 3, c = 4
input x : f32[n, c] ~ normal(0, 1)
input y : f32[n, c] ~ normal(0, 1)
output l = mean[i, j] square(x[i, j] - y[i, j])
)";

/// Reductions whose results are integers.
constexpr const char* kCount = R"(task count(n = 64, c = 32)
sizes tiny: n = 3, c = 4
input x : f32[n, c] ~ normal(0, 1)
any : i64[i] = max[j < c] select(x[i, j] > 1, 1, 0)
output several[i] = any[i] * (sum[j < c] x[i, j])
output positive : i64[i] = sum[j < c] select(x[i, j] > 0, 1, 0)
)";

TEST_F(Verify, EveryMutantOfAFitTaskIsCaught) {
  for (const char* text : {kSoftmax, kMatmul, kLoss, kCount}) {
    const ir::Program program = parse(text);
    const auto mutants = std::move(try_mutants(program, oracle(program), 1)).value();
    for (const Mutant& mutant : mutants) {
      EXPECT_TRUE(mutant.caught) << program.name << ": " << mutant.name << ": " << mutant.detail;
    }
  }
}

TEST_F(Verify, ATaskWithASingleNumberForResultIsFit) {
  const ir::Program program = parse(R"(task total(n = 64)
sizes tiny: n = 5
input x : f32[n]
output y = sum[i] x[i] * x[i]
)");
  const auto mutants = std::move(try_mutants(program, oracle(program), 1)).value();
  for (const Mutant& mutant : mutants) EXPECT_TRUE(mutant.caught) << mutant.name;
}

TEST_F(Verify, AnUnfitTaskAcceptsAMutant) {
  const ir::Program program = parse(R"(task nothing(n = 64)
sizes tiny: n = 5
input x : f32[n]
output y[i] = x[i] - x[i]
)");
  bool all_caught = true;
  const auto mutants = std::move(try_mutants(program, oracle(program), 1)).value();
  for (const Mutant& mutant : mutants) {
    all_caught = all_caught && mutant.caught;
  }
  EXPECT_FALSE(all_caught) << "an output that is always zero accepts zeros";
}

TEST_F(Verify, EveryDataSetHasTheStructureOfItsInputs) {
  constexpr size_t kN = 20;
  const ir::Program program = parse(R"(task t(n = 20)
input a : f32[2, n, n] ~ uniform(0, 1), lower
input b : f32[n, n] ~ normal(0, 1), symmetric
input c : f32[n, n] ~ uniform(1, 2), upper
output y[m, i, j] = sum[k] a[m, i, k] * b[k, j] * c[k, j]
)");
  const ir::Sizes sizes = *ir::bind_sizes(program, "full");
  for (InputMix mix : input_mixes()) {
    const Dataset data = draw_dataset(program, sizes, mix, 3);
    for (const Dataset& each : {data, twin_of(program, sizes, data, 4)}) {
      auto inputs = inputs_of(program, each);
      double kept = 0;
      for (size_t i = 0; i < kN; ++i) {
        for (size_t j = i + 1; j < kN; ++j) {
          EXPECT_EQ(inputs["a"][kN * kN + i * kN + j], 0);
          EXPECT_EQ(inputs["c"][j * kN + i], 0);
          EXPECT_EQ(inputs["b"][i * kN + j], inputs["b"][j * kN + i]);
          kept += std::abs(inputs["a"][kN * kN + j * kN + i]);
        }
      }
      EXPECT_GT(kept, 0);
    }
  }
}

}  // namespace
}  // namespace quern
