// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>

#include "base/sanitized.h"
#include "codegen/reference.h"
#include "ir/interpret.h"
#include "task/parse.h"
#include "verify/workload.h"

namespace quern {
namespace {

/// How a kernel that multiplies in a narrow type takes its operands.
enum class Rounding { kNone, kNearest, kTruncated, kBf16, kFp16 };

float to_bits(float x, int dropped, bool nearest) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  if (nearest) bits += (1u << (dropped - 1)) - 1 + (bits >> dropped & 1);
  return std::bit_cast<float>(bits >> dropped << dropped);
}

float rounded(float x, Rounding rounding) {
  switch (rounding) {
    case Rounding::kNone:
      return x;
    case Rounding::kNearest:
      return to_bits(x, 13, true);
    case Rounding::kTruncated:
      return to_bits(x, 13, false);
    case Rounding::kBf16:
      return to_bits(x, 16, true);
    case Rounding::kFp16: {
      const float near = to_bits(x, 13, true);
      return std::fabs(near) > 65504 ? std::copysign(INFINITY, near) : near;
    }
  }
  return x;
}

/// A kernel in f32 that rounds the operands of convolutions, and of all other sums of products.
struct Kernel {
  Rounding convolutions = Rounding::kNone;
  Rounding products = Rounding::kNone;
  Rounding of(const ir::Statement& statement) const {
    const bool multiplies = statement.kind == ir::Statement::Kind::kReduce &&
                            statement.body.kind == ir::Expr::Kind::kOp &&
                            statement.body.op == ir::Op::kMul;
    return convolves(statement) ? convolutions : multiplies ? products : Rounding::kNone;
  }
};

ir::Program parse(const std::string& text) {
  auto program = parse_task(text, "test.task");
  EXPECT_TRUE(program) << program.error().message;
  return std::move(*program);
}

/// What the kernel makes of the inputs of a data set: one statement after the other.
ir::Tensors<float> answers(const ir::Program& program, const ir::Sizes& sizes, const Dataset& data,
                           const Kernel& kernel) {
  ir::Tensors<float> tensors;
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    std::vector<float>& values = tensors[program.inputs[i].name];
    values.resize(data.inputs[i].size() / sizeof(float));
    std::memcpy(values.data(), data.inputs[i].data(), data.inputs[i].size());
  }
  for (const ir::Statement& statement : program.statements) {
    ir::Program one = program;
    one.inputs.clear();
    one.statements = {statement};
    ir::Tensors<float> read;
    for (const std::string& name : ir::tensors_of(statement.body)) {
      ir::InputDecl input;
      input.name = name;
      input.shape = program.shape_of(name);
      one.inputs.push_back(input);
      read[name] = tensors.at(name);
      for (float& x : read[name]) x = rounded(x, kernel.of(statement));
    }
    tensors[statement.name] = ir::run<float>(one, sizes, read).at(statement.name);
  }
  return tensors;
}

std::vector<std::byte> bytes_of(const std::vector<float>& values) {
  const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
  return {bytes, bytes + values.size() * sizeof(float)};
}

/// A task with what judges it.
class Judged {
 public:
  explicit Judged(const std::string& text, Contract contract = Contract::kTf32Convolutions)
      : program_(parse(text)),
        oracle_(oracle_of(program_, contract)),
        naive_(compiled(emit_naive(program_))),
        workload_(*WorkloadMaker{program_, oracle_, naive_, 2}.hidden(small_seed())) {}

  /// The largest error in units of what is accepted, and "" or the first data set that refuses.
  struct Outcome {
    double error = 0;
    std::string refused;
  };
  Outcome judge(const ir::Program& made, const Kernel& kernel) const {
    Outcome outcome;
    for (size_t d = 0; d < workload_.datasets.size(); ++d) {
      const Dataset& data = workload_.datasets[d];
      const auto tensors = answers(made, workload_.sizes, data, kernel);
      for (const ExpectedOutput& output : data.outputs) {
        const ComparePolicy& policy = workload_.policies[d];
        const CompareReport report = compare(bytes_of(tensors.at(output.name)), output, policy);
        if (!policy.bitwise) {
          outcome.error = std::max(outcome.error, report.max_error / policy.factor);
        }
        if (report.ok || !outcome.refused.empty()) continue;
        outcome.refused = input_mix_name(data.mix, program_);
      }
    }
    return outcome;
  }
  Outcome judge(const Kernel& kernel) const { return judge(program_, kernel); }

  const ir::Program& program() const { return program_; }
  const Workload& workload() const { return workload_; }

 private:
  static CpuCompiler& compiler() {
    static const std::unique_ptr<CpuCompiler> kCompiler = [] {
      CompilerOptions options;
      options.cache_dir = testing::TempDir() + "quern_verify_test";
      return std::move(CpuCompiler::make(options)).value();
    }();
    return *kCompiler;
  }
  /// Of a hidden shape that the tests' interpreter is quick at.
  uint64_t small_seed() const {
    uint64_t seed = 1;
    for (;; ++seed) {
      double product = 1;
      for (const auto& [name, value] : hidden_sizes(program_, seed, 200'000)) {
        product *= static_cast<double>(value);
      }
      if (product < 12) return seed;
    }
  }
  static Oracle oracle_of(const ir::Program& program, Contract contract) {
    auto oracle = Oracle::make(program, compiler(), 2, contract);
    QUERN_CHECK(oracle.has_value(), oracle.error().message.c_str());
    return std::move(*oracle);
  }
  static Binary compiled(const std::string& source) {
    CompileJob job;
    job.source = source;
    job.trusted = true;
    return compiler().compile(job).value();
  }

  ir::Program program_;
  Oracle oracle_;
  Binary naive_;
  Workload workload_;
};

std::string convolution(int channels, int width) {
  return fmt::format(
      "task conv(h = 6)\nsizes tiny: h = 5\nprecision as_reference\n"
      "input x : f32[1, {0}, h, 4]\nparam w : f32[6, {0}, {1}, {1}] ~ normal(0, 0.1)\n"
      "output y = conv2d(x, w, padding = 1)\n",
      channels, width);
}

constexpr const char* kNormalized = R"(task normalized(h = 8)
sizes tiny: h = 5
precision as_reference
input x : f32[2, 16, h, 8]
param w : f32[16, 16, 3, 3] ~ normal(0, 0.1)
param b : f32[16]
param g : f32[16]
param s : f32[16]
output y = gelu(group_norm(conv2d(x, w, b, padding = 1), g, s, groups = 4))
)";

[[maybe_unused]] constexpr const char* kPooled = R"(task pooled(h = 9)
sizes tiny: h = 7
precision as_reference
input x : f32[4, 16, h, 4]
param w : f32[16, 16, 3, 3] ~ normal(0, 0.1)
output y = global_avg_pool(tanh(conv_transpose2d(x, w, stride = 2)))
)";

[[maybe_unused]] constexpr const char* kThree = R"(task three(h = 8)
sizes tiny: h = 5
precision as_reference
input x : f32[1, 16, h, 8]
param w1 : f32[16, 16, 3, 3] ~ normal(0, 0.1)
param w2 : f32[16, 16, 3, 3] ~ normal(0, 0.1)
param w3 : f32[16, 16, 3, 3] ~ normal(0, 0.1)
a = relu(conv2d(x, w1, padding = 1))
b = relu(conv2d(a, w2, padding = 1))
output y = conv2d(b, w3, padding = 1)
)";

[[maybe_unused]] constexpr const char* kResidual = R"(task residual(h = 8)
sizes tiny: h = 5
precision as_reference
input x : f32[2, 16, h, 8]
param w1 : f32[16, 16, 3, 3] ~ normal(0, 0.1)
param g1 : f32[16]
param b1 : f32[16]
param w2 : f32[16, 16, 3, 3] ~ normal(0, 0.1)
param g2 : f32[16]
param b2 : f32[16]
a = relu(batch_norm(conv2d(x, w1, padding = 1), g1, b1))
output y = relu(batch_norm(conv2d(a, w2, padding = 1), g2, b2) + x)
)";

/// A convolution, and a linear layer that the contract does not speak of.
constexpr const char* kWithLinear = R"(task with_linear(n = 6)
sizes tiny: n = 3
precision as_reference
input x : f32[n, 16, 24]
param w : f32[16, 16, 3] ~ normal(0, 0.1)
param v : f32[20, 24] ~ normal(0, 0.1)
a = gelu(conv1d(x, w, padding = 1))
output y = linear(a, v)
)";

/// Name and text of a task; what judges it is made once.
class ContractTf32 : public testing::TestWithParam<std::pair<const char*, std::string>> {
 protected:
  static const Judged& judge_of(const std::string& text) {
    static std::map<std::string, Judged> made;
    return made.try_emplace(text, text).first->second;
  }
  const Judged& judged_ = judge_of(GetParam().second);
};

TEST_P(ContractTf32, AcceptsRoundedAndTruncatedOperandsWithRoomToSpare) {
  for (const Rounding rounding : {Rounding::kNone, Rounding::kNearest, Rounding::kTruncated}) {
    const auto outcome = judged_.judge({rounding});
    EXPECT_EQ(outcome.refused, "") << static_cast<int>(rounding);
    EXPECT_LT(outcome.error, 0.8) << static_cast<int>(rounding);
  }
}

TEST_P(ContractTf32, RefusesSixteenBits) {
  const auto bf16 = judged_.judge({Rounding::kBf16});
  EXPECT_NE(bf16.refused, "");
  EXPECT_GT(bf16.error, 1.2) << "under the bound, too";
  EXPECT_NE(judged_.judge({Rounding::kFp16}).refused, "");
}

/// The padding a window reads instead of zeros, or a term left out.
ir::Program with_body(const ir::Program& program, bool drop) {
  ir::Program wrong = program;
  const auto first = std::ranges::find_if(wrong.statements, convolves);
  const auto is_first = [](const ir::Axis& axis) {
    return ir::apply(ir::Op::kEq, {ir::index_value(ir::int_axis(axis.name)),
                                   ir::index_value(ir::int_constant(0))});
  };
  ir::Expr* head = &first->body;
  while (head->op == ir::Op::kSelect) head = &head->args[1];
  if (drop) {
    ir::Expr at = ir::apply(
        ir::Op::kAnd, {is_first(first->reduce_axes.front()), is_first(first->reduce_axes.back())});
    *head = ir::apply(ir::Op::kSelect, {std::move(at), ir::constant(0), *head});
  } else {
    for (ir::Expr& operand : head->args) {
      if (!operand.args.empty()) operand.args[0] = ir::constant(0.02);
    }
  }
  return wrong;
}

TEST_P(ContractTf32, RefusesAMissingTermAndAWrongPadding) {
  EXPECT_NE(judged_.judge(with_body(judged_.program(), true), {}).refused, "");
  const ir::Program padded = with_body(judged_.program(), false);
  if (padded == judged_.program()) return;  // nothing is padded there
  EXPECT_NE(judged_.judge(padded, {}).refused, "");
}

constexpr auto kTaskName = [](const auto& info) { return std::string(info.param.first); };

INSTANTIATE_TEST_SUITE_P(Tasks, ContractTf32,
                         testing::Values(std::pair("SixtyFourTerms", convolution(64, 1)),
                                         std::pair("WithLinear", kWithLinear)),
                         kTaskName);

// Minutes of the sanitised ring, which looks for faults of the code: two tasks go through all of
// it.
#ifndef QUERN_SANITIZED
INSTANTIATE_TEST_SUITE_P(LargerTasks, ContractTf32,
                         testing::Values(std::pair("ManyTerms", convolution(512, 3)),
                                         std::pair("Normalized", kNormalized),
                                         std::pair("Pooled", kPooled),
                                         std::pair("ThreeInARow", kThree),
                                         std::pair("ResidualBlock", kResidual)),
                         kTaskName);
#endif

/// Whether a sum over products is taken for a convolution, in a task of these inputs.
bool convolution_in(const std::string& inputs, const std::string& statement) {
  const ir::Program program =
      parse("task t(n = 6)\nsizes tiny: n = 5\nprecision as_reference\n" + inputs + statement);
  const bool any = std::ranges::any_of(program.statements, convolves);
  EXPECT_EQ(contract_on(program, ScheduleTarget::kCuda) == Contract::kTf32Convolutions, any);
  EXPECT_EQ(contract_on(program, ScheduleTarget::kDevice), Contract::kFp32);
  EXPECT_EQ(contract_on(program, ScheduleTarget::kCpu), Contract::kFp32);
  return any;
}

TEST(Convolves, KnowsSumsOfProductsAlongWindowsWhoseWeightsAreShared) {
  const std::string x = "input x : f32[2, 4, n, 8]\n";
  EXPECT_TRUE(convolution_in(x + "param w : f32[8, 2, 3, 3]\n",
                             "output y = conv2d(x, w, stride = 2, padding = 1, groups = 2)\n"));
  EXPECT_TRUE(
      convolution_in(x + "param w : f32[4, 1, 3, 3]\n", "output y = conv2d(x, w, groups = 4)\n"));
  EXPECT_TRUE(convolution_in(x + "param w : f32[8, 4, 1, 1]\n", "output y = conv2d(x, w)\n"));
  EXPECT_TRUE(convolution_in(x + "param w : f32[4, 3, 3, 3]\n",
                             "output y = conv_transpose2d(x, w, stride = 2)\n"));
}

TEST(Convolves, TakesNoOtherSumForOne) {
  const std::string x = "input x : f32[n, n]\n", w = "param w : f32[n, n]\n";
  EXPECT_FALSE(convolution_in(x + w, "output y = matmul(x, w)\n"));
  EXPECT_FALSE(convolution_in(x + w, "output y = attention(x, w, x)\n"));
  EXPECT_FALSE(convolution_in("input x : f32[2, 3, n, n]\n", "output y = avg_pool2d(x, 2)\n"));
  EXPECT_FALSE(
      convolution_in(x, "output y[i < n, j < n] = sum[r < 3] (x[i, j + r] else 0) * 0.5\n"));
  EXPECT_FALSE(
      convolution_in(x, "output y[i < n, j < n] = sum[r < 3] square(x[i, j + r] else 0)\n"));
  // Attention to neighbours: each place has weights of its own.
  EXPECT_FALSE(convolution_in("input x : f32[n, 8]\ninput p : f32[n, 3]\n",
                              "output y[i, d < 8] = sum[r] p[i, r] * (x[i + r - 1, d] else 0)\n"));
}

TEST(ContractFp32, RefusesTf32) {
  for (const std::string& text : {convolution(64, 3), std::string(kNormalized)}) {
    const Judged judged(text, Contract::kFp32);
    EXPECT_EQ(judged.judge({}).refused, "");
    for (const Rounding rounding : {Rounding::kNearest, Rounding::kTruncated}) {
      EXPECT_NE(judged.judge({rounding}).refused, "");
    }
  }
}

TEST(ContractTf32Linear, IsHeldToFp32) {
  const Judged judged(kWithLinear);
  const auto refused = [&](Rounding rounding) {
    return judged.judge({Rounding::kNearest, rounding}).refused;
  };
  EXPECT_EQ(refused(Rounding::kNone), "");
  EXPECT_EQ(refused(Rounding::kNearest), "signs into convolutions");
  EXPECT_EQ(refused(Rounding::kTruncated), "signs into convolutions");
}

TEST(ContractTf32Probes, MeasureElevenBitsOfOperandsAndTwentyOfTheRest) {
  const Judged judged(R"(task probed(n = 6)
sizes tiny: n = 3
precision as_reference
input x : f32[n, 16, 24]
param w : f32[16, 16, 3] ~ normal(0, 0.1)
param v : f32[20, 24] ~ normal(0, 0.1)
output y = linear(relu(conv1d(x, w, padding = 1)), v)
)");
  std::map<std::string, InputMix::Kind> meters;
  for (const Dataset& data : judged.workload().datasets) {
    if (data.exact) meters[input_mix_name(data.mix, judged.program())] = data.mix.kind;
  }
  EXPECT_TRUE(meters.contains("11-bit x"));
  EXPECT_TRUE(meters.contains("11-bit w"));
  EXPECT_TRUE(meters.contains("20-bit v"));
  EXPECT_EQ(judged.judge({Rounding::kTruncated}).refused, "");
  EXPECT_NE(judged.judge({Rounding::kNone, Rounding::kNearest}).refused, "");
}

}  // namespace
}  // namespace quern
