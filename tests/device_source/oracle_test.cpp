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
#include "ir/interpret.h"
#include "nvrtc.h"
#include "opencl_machine.h"
#include "starter_tasks.h"

namespace quern {
namespace {

class DeviceOracle : public testing::TestWithParam<std::string> {};

TEST_P(DeviceOracle, CompilesForCuda) {
  if (!nvrtc_missing().empty()) GTEST_SKIP() << nvrtc_missing();
  const ir::Program program = starter_task(GetParam());
  const ir::Sizes full = *ir::bind_sizes(program, "full");
  for (OracleScalar scalar : {OracleScalar::kBound, OracleScalar::kExact}) {
    EXPECT_EQ(nvrtc_refuses(emit_device_oracle(program, full, scalar), {"-default-device"}), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, DeviceOracle, testing::ValuesIn(starter_tasks()),
                         [](const auto& info) { return info.param; });

/// What a host compiler needs to read an oracle. Threads run one after the other: enough where none
/// shares an element with another.
constexpr const char* kHostHead = R"(
#include <stdlib.h>
extern "C" {
double cos(double); double erf(double); double exp(double); double expm1(double);
double fabs(double); double floor(double); double frexp(double, int*); double ldexp(double, int);
double log(double); double log1p(double); double nearbyint(double); double pow(double, double);
double sin(double); double sqrt(double); double tanh(double);
}
#define __global__
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
static struct { long x; } blockIdx, threadIdx;
static inline void __syncthreads() {}
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline double __longlong_as_double(long long) { return 1 / 0.0; }
struct Any {
  void* p;
  template <class T> operator T*() const { return (T*)p; }
};
static inline long i64(long x) { return x; }
static inline long min(long a, long b) { return a < b ? a : b; }
static inline long max(long a, long b) { return a > b ? a : b; }
)";

/// `quern_run(inputs, outputs)`: the plan lines of an oracle as C++.
std::string host_driver(const ir::Program& program, const ir::Sizes& sizes,
                        const std::string& source) {
  std::string text = "extern \"C\" void quern_run(void** inputs, void** outputs) {\n";
  for (const auto& [name, value] : sizes) text += fmt::format("const long {} = {};\n", name, value);
  int number = 0;
  for (const ir::InputDecl& input : program.inputs) {
    text += fmt::format("Any {}{{inputs[{}]}};\n", input.name, number++);
  }
  number = 0;
  for (const ir::Statement* output : program.outputs()) {
    text += fmt::format("Any value_{}{{outputs[{}]}};\n", output->name, number++);
    text += fmt::format("Any scale_{}{{outputs[{}]}};\n", output->name, number++);
  }
  for (const std::string& line : split(source, '\n')) {
    const std::vector<std::string> words = split_words(line);
    if (line.starts_with("// quern: scratch ")) {
      const size_t open = line.find('[');
      text += fmt::format("Any {}{{malloc(8 * ({}))}};\n", words[3],
                          line.substr(open + 1, line.size() - open - 2));
    } else if (line.starts_with("// quern: launch ")) {
      const size_t grid = line.find("grid ") + 5, block = line.find(" block (");
      const size_t args = line.find(" args ") + 6;
      text += fmt::format(
          "for (blockIdx.x = 0; blockIdx.x < {}; ++blockIdx.x)\n"
          "for (threadIdx.x = 0; threadIdx.x < 256; ++threadIdx.x) {{\n{}{};\n}}\n",
          line.substr(grid, block - grid), words[3], line.substr(args));
    }
  }
  return text + "}\n";
}

using Run = void (*)(void**, void**);

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

/// Runs the oracle of a task at its tiny sizes; values and scales by output.
template <class T>
std::map<std::string, std::pair<std::vector<double>, std::vector<double>>> run_on_host(
    const ir::Program& program, const ir::Sizes& sizes, const HostTensors& inputs,
    OracleScalar scalar) {
  const std::string source = emit_device_oracle(program, sizes, scalar);
  const Run run = compile_for_host(kHostHead + source + host_driver(program, sizes, source));
  EXPECT_NE(run, nullptr);
  std::map<std::string, std::pair<std::vector<double>, std::vector<double>>> results;
  if (run == nullptr) return results;
  std::vector<std::vector<std::byte>> given;
  std::vector<void*> in, out;
  for (const ir::InputDecl& input : program.inputs) {
    given.push_back(element_bytes(input.type, inputs.at(input.name)));
    in.push_back(given.back().data());
  }
  for (const ir::Statement* output : program.outputs()) {
    auto& [value, scale] = results[output->name];
    const auto count =
        static_cast<size_t>(element_count(ir::shape_of(program, output->name, sizes)));
    value.assign(count, NAN), scale.assign(count, NAN);
    out.push_back(value.data()), out.push_back(scale.data());
  }
  run(in.data(), out.data());
  return results;
}

class DeviceOracleOnHost : public testing::TestWithParam<const char*> {};

TEST_P(DeviceOracleOnHost, GivesTheValuesAndScalesOfTheInterpreter) {
  const ir::Program program = starter_task(GetParam());
  const ir::Sizes sizes = *ir::bind_sizes(program, "tiny");
  const HostTensors inputs = draw_host_inputs(program, sizes, 11);
  ir::Tensors<RunningError> given;
  for (const auto& [name, values] : inputs) given[name].assign(values.begin(), values.end());
  const ir::Tensors<RunningError> meant = ir::run(program, sizes, given);
  const auto results = run_on_host<RunningError>(program, sizes, inputs, OracleScalar::kBound);
  for (const auto& [name, result] : results) {
    const std::vector<RunningError>& want = meant.at(name);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(result.first[i], want[i].v, 1e-12 * (1 + std::fabs(want[i].v))) << name << i;
      if (!is_float(program.type_of(name))) continue;
      ASSERT_NEAR(result.second[i], want[i].e, 1e-9 * (1 + want[i].e)) << name << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, DeviceOracleOnHost,
                         testing::Values("softmax", "conv_transpose2d", "argmax", "cross_entropy",
                                         "own_scans", "own_integers", "own_guards"));

TEST(DeviceOracleExact, MarksWhatEveryOrderOfF32OperationsGives) {
  const ir::Program program = starter_task("matmul");
  const ir::Sizes sizes = *ir::bind_sizes(program, "tiny");
  HostTensors inputs = draw_host_inputs(program, sizes, 2);
  for (const OracleScalar scalar : {OracleScalar::kExact}) {
    // Multiples of 1/64 multiply and add exactly; a thirtieth bit does not.
    auto results = run_on_host<Exact>(program, sizes, inputs, scalar);
    for (double scale : results.at("c").second) EXPECT_EQ(scale, 0);
    inputs.at("a")[0] = 1 + 0x1p-23;
    results = run_on_host<Exact>(program, sizes, inputs, scalar);
    EXPECT_EQ(results.at("c").second[0], 1);
    EXPECT_EQ(results.at("c").second.back(), 0);
  }
}

}  // namespace
}  // namespace quern
