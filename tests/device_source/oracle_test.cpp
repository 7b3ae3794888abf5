// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/strings.h"
#include "codegen/device_oracle.h"
#include "codegen/reference.h"
#include "device/cuda/referee.h"
#include "ir/interpret.h"
#include "nvrtc.h"
#include "opencl_machine.h"
#include "starter_tasks.h"
#include "verify/compare.h"

namespace quern {
namespace {

class DeviceOracleSource : public testing::TestWithParam<std::string> {};

/// The code of an oracle with what it includes.
std::string source_of(const DeviceOracle& oracle) {
  return replace_all(oracle.code, std::string("#include \"") + kOracleCompareHeader + "\"",
                     cuda::compare_source());
}

void expect_compiles(const std::string& task, Contract contract) {
  if (!nvrtc_missing().empty()) GTEST_SKIP() << nvrtc_missing();
  const ir::Program program = starter_task(task);
  const ir::Sizes full = *ir::bind_sizes(program, "full");
  for (OracleScalar scalar : {OracleScalar::kBound, OracleScalar::kExact}) {
    const DeviceOracle oracle = emit_device_oracle(program, full, scalar, contract);
    EXPECT_EQ(nvrtc_refuses(source_of(oracle), {"-default-device"}), "");
  }
}

TEST_P(DeviceOracleSource, CompilesForCuda) { expect_compiles(GetParam(), Contract::kFp32); }

INSTANTIATE_TEST_SUITE_P(Tasks, DeviceOracleSource, testing::ValuesIn(starter_tasks()),
                         [](const auto& info) { return info.param; });

/// What a host compiler needs to read an oracle. The threads of a block run one after the other,
/// the last one first: a tree of sums finds what it adds.
constexpr const char* kHostHead = R"(
#include <stdlib.h>
extern "C" {
double cos(double); double erf(double); double exp(double); double expm1(double);
double fabs(double); double floor(double); double fmax(double, double);
double frexp(double, int*); double ldexp(double, int);
double log(double); double log1p(double); double nearbyint(double); double pow(double, double);
double sin(double); double sqrt(double); double tanh(double);
}
#define __global__
#define __device__
#define __launch_bounds__(n)
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
static struct { long x; } blockIdx, threadIdx, gridDim, blockDim = {256};
static inline void __syncthreads() {}
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline double __longlong_as_double(long long) { return 1 / 0.0; }
static inline bool isnan(double x) { return x != x; }
static inline bool isinf(double x) { return x == 1 / 0.0 || x == -1 / 0.0; }
static inline bool isfinite(double x) { return !isnan(x) && !isinf(x); }
struct Any {
  void* p;
  template <class T> operator T*() const { return (T*)p; }
};
static inline long i64(long x) { return x; }
static inline long min(long a, long b) { return a < b ? a : b; }
static inline long max(long a, long b) { return a > b ? a : b; }
)";

std::string host_launches(const std::string& plan) {
  std::string text;
  for (const std::string& line : split(plan, '\n')) {
    if (!line.starts_with("// quern: launch ")) continue;
    const size_t grid = line.find("grid ") + 5, block = line.find(" block (");
    const size_t args = line.find(" args ") + 6;
    text += fmt::format(
        "gridDim.x = {};\n"
        "for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)\n"
        "for (threadIdx.x = 255; threadIdx.x >= 0; --threadIdx.x) {{\n{}{};\n}}\n",
        line.substr(grid, block - grid), split_words(line)[3], line.substr(args));
  }
  return text;
}

/// `quern_run(inputs, got, policy, found)`: the plans of an oracle as C++.
std::string host_driver(const ir::Program& program, const ir::Sizes& sizes,
                        const DeviceOracle& oracle) {
  std::string text =
      "extern \"C\" void quern_run(void** inputs, void** got, void* policy, void** found) {\n"
      "Any q_policy{policy};\n";
  for (const auto& [name, value] : sizes) text += fmt::format("const long {} = {};\n", name, value);
  int number = 0;
  for (const ir::InputDecl& input : program.inputs) {
    text += fmt::format("Any {}{{inputs[{}]}};\n", input.name, number++);
  }
  number = 0;
  for (const ir::Statement* output : program.outputs()) {
    text += fmt::format("Any {}{{got[{}]}};\n", output->name, number);
    text += fmt::format("Any {}{{found[{}]}};\n", oracle_found(output->name), number++);
  }
  for (const DeviceOracle::Kept& kept : oracle.kept) {
    text += fmt::format("Any {}{{malloc(16 * ({}))}};\n", kept.name, ir::print(kept.elements));
  }
  return text + host_launches(oracle.prepare) + host_launches(oracle.check) + "}\n";
}

using Run = void (*)(void**, void**, void*, void**);

Run compile_for_host(const std::string& source) {
  std::string folder = std::filesystem::temp_directory_path() / "quern_oracle_XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return nullptr;
  std::ofstream(folder + "/oracle.cpp") << source;
  const std::string command =
      fmt::format("g++ -std=c++17 -O0 -w -shared -fPIC -o {0}/made.so {0}/oracle.cpp", folder);
  const int status = std::system(command.c_str());
  void* library = status == 0 ? dlopen((folder + "/made.so").c_str(), RTLD_NOW) : nullptr;
  std::filesystem::remove_all(folder);
  return library == nullptr ? nullptr : reinterpret_cast<Run>(dlsym(library, "quern_run"));
}

/// What the oracle of a task says of outputs, by output, under a policy.
std::map<std::string, cuda::GpuComparison> judge_on_host(const ir::Program& program,
                                                         const ir::Sizes& sizes,
                                                         const HostTensors& inputs,
                                                         const HostTensors& outputs,
                                                         OracleScalar scalar, double factor,
                                                         Contract contract = Contract::kFp32) {
  const DeviceOracle oracle = emit_device_oracle(program, sizes, scalar, contract);
  const Run run =
      compile_for_host(kHostHead + source_of(oracle) + host_driver(program, sizes, oracle));
  EXPECT_NE(run, nullptr);
  std::map<std::string, cuda::GpuComparison> results;
  if (run == nullptr) return results;
  std::vector<std::vector<std::byte>> given, made;
  std::vector<std::vector<cuda::GpuComparison>> found;
  std::vector<void*> in, out, into;
  for (const ir::InputDecl& input : program.inputs) {
    given.push_back(element_bytes(input.type, inputs.at(input.name)));
    in.push_back(given.back().data());
  }
  for (const ir::Statement* output : program.outputs()) {
    made.push_back(element_bytes(output->type, outputs.at(output->name)));
    out.push_back(made.back().data());
    found.emplace_back(kOracleBlocks + 1);
    into.push_back(found.back().data());
  }
  double policy[2] = {factor, scalar == OracleScalar::kExact ? 1.0 : 0.0};
  run(in.data(), out.data(), policy, into.data());
  for (size_t i = 0; i < found.size(); ++i) results[program.outputs()[i]->name] = found[i][0];
  return results;
}

class DeviceOracleOnHost : public testing::TestWithParam<const char*> {};

TEST_P(DeviceOracleOnHost, JudgesOutputsAsTheHostDoes) {
  const ir::Program program = starter_task(GetParam());
  const ir::Sizes sizes = *ir::bind_sizes(program, "tiny");
  const HostTensors inputs = draw_host_inputs(program, sizes, 11);
  ir::Tensors<RunningError> given;
  for (const auto& [name, values] : inputs) given[name].assign(values.begin(), values.end());
  const ir::Tensors<RunningError> meant = ir::run(program, sizes, given);
  // Outputs that are off by up to a few units of their scale, and one that is far off.
  HostTensors outputs;
  for (const ir::Statement* output : program.outputs()) {
    std::vector<double>& got = outputs[output->name];
    for (const RunningError& want : meant.at(output->name)) {
      const double off = static_cast<double>(got.size() % 7) * 0x1p-24 * want.e;
      got.push_back(is_float(output->type) && std::isfinite(off) ? want.v + off : want.v);
    }
    got.back() += 3;
  }
  const auto results = judge_on_host(program, sizes, inputs, outputs, OracleScalar::kBound, 4);
  for (const ir::Statement* output : program.outputs()) {
    ExpectedOutput expected;
    expected.name = output->name;
    expected.type = output->type;
    expected.shape = ir::shape_of(program, output->name, sizes);
    for (const RunningError& want : meant.at(output->name)) {
      expected.value.push_back(want.v);
      expected.scale.push_back(is_float(output->type) ? want.e : 0);
    }
    const CompareReport want =
        compare(element_bytes(output->type, outputs.at(output->name)), expected, {});
    const cuda::GpuComparison& found = results.at(output->name);
    EXPECT_FALSE(want.ok) << output->name;
    EXPECT_EQ(found.wrong, want.wrong) << output->name;
    EXPECT_EQ(found.compared, want.compared) << output->name;
    if (std::isfinite(want.max_error)) {
      EXPECT_NEAR(found.max_error, want.max_error, 1e-6 * want.max_error) << output->name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, DeviceOracleOnHost,
                         testing::Values("relu", "softmax", "conv_transpose2d", "argmax",
                                         "cross_entropy", "own_scans", "own_integers",
                                         "own_guards"));

/// What the host's oracle of a task with one output says of inputs.
ExpectedOutput host_expects(const ir::Program& program, const ir::Sizes& sizes,
                            const HostTensors& inputs, Contract contract) {
  std::string arguments;
  for (const std::string& size : program.free_sizes()) {
    arguments += fmt::format("{}, ", sizes.at(size));
  }
  std::vector<std::vector<std::byte>> given;
  std::vector<void*> in;
  for (const ir::InputDecl& input : program.inputs) {
    arguments += fmt::format("(const float*)inputs[{}], ", in.size());
    given.push_back(element_bytes(input.type, inputs.at(input.name)));
    in.push_back(given.back().data());
  }
  const Run run = compile_for_host(
      emit_oracle(program, contract) +
      fmt::format("extern \"C\" void quern_run(void** inputs, void** value, void*, void** scale) "
                  "{{\noracle_bound({}(double*)value[0], (double*)scale[0]);\n}}\n",
                  arguments));
  EXPECT_NE(run, nullptr);
  const ir::Statement& output = *program.outputs().front();
  ExpectedOutput expected{
      output.name, output.type, ir::shape_of(program, output.name, sizes), {}, {}};
  expected.value.resize(static_cast<size_t>(element_count(expected.shape)));
  expected.scale.resize(expected.value.size());
  void *value = expected.value.data(), *scale = expected.scale.data();
  if (run != nullptr) run(in.data(), &value, nullptr, &scale);
  return expected;
}

class DeviceOracleOfConvolutions : public testing::TestWithParam<const char*> {};

TEST_P(DeviceOracleOfConvolutions, CompilesWhereOperandsMayBeRounded) {
  expect_compiles(GetParam(), Contract::kTf32Convolutions);
}

TEST_P(DeviceOracleOfConvolutions, AllowsRoundedOperandsAsMuchAsTheHostDoes) {
  const ir::Program program = starter_task(GetParam());
  const ir::Sizes sizes = *ir::bind_sizes(program, "tiny");
  HostTensors inputs = draw_host_inputs(program, sizes, 11);
  for (auto& [name, values] : inputs) {
    for (double& x : values) x = static_cast<float>(1.0017 * x);  // more bits than TF32 has
  }
  const Contract contract = Contract::kTf32Convolutions;
  const ExpectedOutput expected = host_expects(program, sizes, inputs, contract);
  HostTensors outputs;
  std::vector<double>& got = outputs[expected.name];
  for (size_t i = 0; i < expected.value.size(); ++i) {
    const double units = static_cast<double>(i % 7);
    got.push_back(expected.value[i] + units * 0x1p-24 * expected.scale[i]);
  }
  const auto bytes = element_bytes(DType::kF32, got);
  const CompareReport want = compare(bytes, expected, {});
  const auto judged = [&](Contract by) {
    return judge_on_host(program, sizes, inputs, outputs, OracleScalar::kBound, 4, by)
        .at(expected.name);
  };
  const cuda::GpuComparison found = judged(contract);
  EXPECT_GT(found.wrong, 0);
  EXPECT_EQ(found.wrong, want.wrong);
  EXPECT_NEAR(found.max_error, want.max_error, 1e-6 * want.max_error);
  EXPECT_GT(judged(Contract::kFp32).max_error, 50 * found.max_error);
}

INSTANTIATE_TEST_SUITE_P(Tasks, DeviceOracleOfConvolutions,
                         testing::Values("conv2d_bias_relu", "conv_transpose2d",
                                         "depthwise_conv2d"));

TEST(DeviceOracleExact, IsSureOfElevenBitsWhereOperandsMayBeRounded) {
  const ir::Program program = starter_task("depthwise_conv2d");
  const ir::Sizes sizes = *ir::bind_sizes(program, "tiny");
  HostTensors inputs = draw_host_inputs(program, sizes, 2);
  for (auto& [name, values] : inputs) {
    for (double& x : values) x = std::round(4 * x);
  }
  const auto inexact = [&](Contract contract) {
    const HostTensors outputs = ir::run(program, sizes, inputs);
    return judge_on_host(program, sizes, inputs, outputs, OracleScalar::kExact, 0, contract)
        .at("y")
        .inexact;
  };
  EXPECT_EQ(inexact(Contract::kTf32Convolutions), 0);
  inputs.at("x")[0] = 4097;
  EXPECT_EQ(inexact(Contract::kFp32), 0);
  EXPECT_GT(inexact(Contract::kTf32Convolutions), 0);
}

TEST(DeviceOracleExact, MarksWhatEveryOrderOfF32OperationsGives) {
  const ir::Program program = starter_task("matmul");
  const ir::Sizes sizes = *ir::bind_sizes(program, "tiny");
  HostTensors inputs = draw_host_inputs(program, sizes, 2);
  const auto look = [&] {
    const HostTensors outputs = ir::run(program, sizes, inputs);
    return judge_on_host(program, sizes, inputs, outputs, OracleScalar::kExact, 0).at("c");
  };
  // Multiples of 1/64 multiply and add exactly; a thirtieth bit does not.
  EXPECT_EQ(look().inexact, 0);
  EXPECT_EQ(look().wrong, 0);
  inputs.at("a")[0] = 1 + 0x1p-23;
  EXPECT_GT(look().inexact, 0);
  EXPECT_LT(look().inexact, look().compared);
}

}  // namespace
}  // namespace quern
