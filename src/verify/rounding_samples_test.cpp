// SPDX-License-Identifier: Apache-2.0
#include "verify/rounding_samples.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "ir/interpret.h"
#include "task/parse.h"
#include "verify/mutants.h"

namespace quern {
namespace {

constexpr int kLayers = 20;

/// A network of dense layers, `skipped` of them left out. With `residual`, each layer adds a little
/// to what it is given, so that leaving one out changes little.
std::string network(bool residual, int skipped = -1) {
  std::string text = fmt::format(
      "task deep(n = 12)\nsizes tiny: n = 5\ninput x : f32[n, 48]\n"
      "input w : f32[{}, 48, 48] ~ normal(0, 0.2)\ninput b : f32[{}, 48] ~ normal(0, 0.1)\n"
      "h0[i, j < 48] = x[i, j]\n",
      kLayers, kLayers);
  std::string last = "h0";
  for (int layer = 0; layer < kLayers; ++layer) {
    if (layer == skipped) continue;
    const std::string next = fmt::format("h{}", layer + 1);
    text += fmt::format("a{0}[i, j < 48] = sum[k] {1}[i, k] * w[{0}, k, j]\n", layer, last);
    text += residual
                ? fmt::format("{}[i, j < 48] = {}[i, j] + 0.3 * tanh(a{}[i, j] + b[{}, j])\n", next,
                              last, layer, layer)
                : fmt::format("{}[i, j < 48] = max(a{}[i, j] + b[{}, j], 0)\n", next, layer, layer);
    last = next;
  }
  return text + fmt::format("output y[i, j < 48] = {}[i, j]\n", last);
}

ir::Program parse(const std::string& text) {
  auto program = parse_task(text, "deep.task");
  EXPECT_TRUE(program) << program.error().message;
  return std::move(*program);
}

Oracle oracle_of(const ir::Program& program) {
  CompilerOptions options;
  options.cache_dir = testing::TempDir() + "quern_verify_test";
  static const std::unique_ptr<CpuCompiler> kCompiler = *CpuCompiler::make(options);
  return *Oracle::make(program, *kCompiler, 2);
}

/// What `program` makes of the inputs of a data set, over `T`, as an output's bytes.
template <class T>
std::vector<std::byte> output_of(const ir::Program& program, const ir::Sizes& sizes,
                                 const Dataset& data) {
  ir::Tensors<T> inputs;
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    std::vector<float> values(data.inputs[i].size() / sizeof(float));
    std::memcpy(values.data(), data.inputs[i].data(), data.inputs[i].size());
    inputs[program.inputs[i].name] = std::vector<T>(values.begin(), values.end());
  }
  const auto tensors = ir::run<T>(program, sizes, inputs);
  std::vector<std::byte> bytes;
  for (const T& value : tensors.at("y")) {
    const auto narrow = static_cast<float>(value);
    const auto* at = reinterpret_cast<const std::byte*>(&narrow);
    bytes.insert(bytes.end(), at, at + sizeof narrow);
  }
  return bytes;
}

TEST(RoundingSamples, CountsSumsThatDependOnOneAnother) {
  EXPECT_EQ(chain_of_sums(parse(network(false))), kLayers);
  EXPECT_EQ(chain_of_sums(parse("task t(n = 4)\ninput x : f32[n]\na[i < n] = sum[j < n] x[j]\n"
                                "b[i < n] = sum[j < n] x[j]\noutput y[i] = a[i] + b[i]\n")),
            1);
}

TEST(RoundingSamples, LeavesShallowProgramsTheirBound) {
  const ir::Program program =
      parse("task t(n = 64)\ninput x : f32[n, n]\noutput y[i] = sum[j] x[i, j]\n");
  EXPECT_FALSE(may_outgrow(program));
  const ir::Sizes sizes = *ir::bind_sizes(program, "full");
  Dataset data = draw_dataset(program, sizes, {InputMix::Kind::kNormal}, 5);
  ASSERT_TRUE(oracle_of(program).expect(sizes, data));
  EXPECT_FALSE(data.sampled);
}

TEST(RoundingSamples, NeverAcceptMoreThanTheBound) {
  ExpectedOutput bound, sampled;
  bound.scale = {1, 10, 100};
  sampled.scale = {3, 3, 30};
  take_samples(sampled, bound);
  const double shared = std::sqrt((9 + 9 + 900) / 3.0);
  EXPECT_DOUBLE_EQ(bound.scale[0], 1);
  EXPECT_DOUBLE_EQ(bound.scale[1], 10);
  EXPECT_DOUBLE_EQ(bound.scale[2], 30);
  EXPECT_LT(shared, 30);
}

class DeepNetwork : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    program_ = parse(network(GetParam()));
    sizes_ = *ir::bind_sizes(program_, "full");
    data_ = draw_dataset(program_, sizes_, {InputMix::Kind::kDeclared}, 7);
    ASSERT_TRUE(oracle_of(program_).expect(sizes_, data_));
  }
  CompareReport judged(const std::vector<std::byte>& got) const {
    return compare(got, data_.outputs.at(0), {});
  }

  ir::Program program_;
  ir::Sizes sizes_;
  Dataset data_;
};

TEST_P(DeepNetwork, AcceptsAnHonestEvaluationWithRoomToSpare) {
  EXPECT_TRUE(data_.sampled);
  const CompareReport report = judged(output_of<float>(program_, sizes_, data_));
  EXPECT_TRUE(report.ok) << report.worst;
  EXPECT_LT(report.max_error, 2);
  EXPECT_GT(report.max_error, 0.02) << "the scale is of the order of true errors";
}

TEST_P(DeepNetwork, RefusesOneWithALayerLeftOut) {
  for (const int layer : {0, kLayers / 2, kLayers - 1}) {
    const ir::Program shorter = parse(network(GetParam(), layer));
    EXPECT_FALSE(judged(output_of<double>(shorter, sizes_, data_)).ok) << layer;
  }
}

TEST_P(DeepNetwork, RefusesAWeightThatIsOffByAPartInAThousand) {
  Dataset other = data_;
  float weight = 0;
  std::byte* at = other.inputs[1].data() + 5000 * sizeof weight;
  std::memcpy(&weight, at, sizeof weight);
  weight += 0.001f;
  std::memcpy(at, &weight, sizeof weight);
  EXPECT_FALSE(judged(output_of<double>(program_, sizes_, other)).ok);
}

TEST_P(DeepNetwork, IsFitToJudgeKernels) {
  const auto mutants = try_mutants(program_, oracle_of(program_), 1);
  ASSERT_TRUE(mutants);
  for (const Mutant& mutant : *mutants) EXPECT_TRUE(mutant.caught) << mutant.detail;
}

TEST_P(DeepNetwork, GivesTheSameScalesAgain) {
  Dataset again = data_;
  again.outputs.clear();
  ASSERT_TRUE(oracle_of(program_).expect(sizes_, again));
  EXPECT_EQ(again.outputs.at(0).scale, data_.outputs.at(0).scale);
}

INSTANTIATE_TEST_SUITE_P(PlainAndResidual, DeepNetwork, testing::Bool());

}  // namespace
}  // namespace quern
