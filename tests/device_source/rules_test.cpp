// SPDX-License-Identifier: Apache-2.0
#include "propose/rules.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/strings.h"
#include "codegen/device_tile.h"
#include "codegen/emit_device.h"
#include "nvrtc.h"
#include "opencl_machine.h"
#include "starter_tasks.h"

namespace quern {
namespace {

void expect_meaning(const ir::Program& program, const std::vector<DeviceProgram>& all,
                    const ir::Sizes& sizes) {
  OpenclMachine* machine = OpenclMachine::get();
  if (machine == nullptr) GTEST_SKIP() << "no OpenCL platform (pocl-opencl-icd)";
  const HostTensors inputs = draw_host_inputs(program, sizes, 5);
  for (const DeviceProgram& plan : all) {
    const std::string source = device_source(program, DeviceLanguage::kOpencl, plan);
    auto outputs = machine->run(program, sizes, plan, source, inputs);
    ASSERT_TRUE(outputs) << outputs.error().message << outputs.error().hint << source;
    ASSERT_EQ(difference_from_meaning(program, sizes, inputs, *outputs), "") << source;
  }
}

/// Stands for the tensor cores of a warp in OpenCL C: lanes exchange their fragments.
constexpr const char* kTensorCores = R"code(
#define q_tf32_split(x, high, low)                          \
  do {                                                      \
    const float q_v = (x);                                  \
    *(high) = (as_uint(q_v) + 0x1000u) & 0xffffe000u;       \
    *(low) = as_uint(q_v - as_float(*(high))) & 0xffffe000u; \
  } while (0)
#define q_tf32(x) ((as_uint(x) + 0x1000u) & 0xffffe000u)
#define q_mma_tf32(d, a, b) multiply_fragments(d, a, b, q_exchange)
__attribute__((always_inline)) void multiply_fragments(float* d, const uint* a, const uint* b,
                                                       __local float* all) {
  const int t = get_local_id(0), first = t / 32 * 32, l = t % 32;
  for (int e = 0; e < 4; ++e) all[t * 6 + e] = as_float(a[e]);
  for (int e = 0; e < 2; ++e) all[t * 6 + 4 + e] = as_float(b[e]);
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int e = 0; e < 4; ++e) {
    const int row = l / 4 + e / 2 * 8, column = l % 4 * 2 + e % 2;
    for (int k = 0; k < 8; ++k) {
      d[e] += all[(first + row % 8 * 4 + k % 4) * 6 + row / 8 + k / 4 * 2] *
              all[(first + column * 4 + k % 4) * 6 + 4 + k / 4];
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
}
)code";

/// The OpenCL source of a plan for CUDA, with what only CUDA has emulated.
std::string emulated_source(const ir::Program& program, const DeviceProgram& plan) {
  DeviceProgram local = plan;
  for (DeviceKernel& kernel : local.kernels) {
    kernel.body = fmt::format("Q_SHARED_VECTORS float q_exchange[{}];\n", kernel.threads * 6) +
                  replace_all(kernel.body, "extern Q_SHARED_VECTORS float q_tiles[];",
                              fmt::format("Q_SHARED_VECTORS float q_tiles[{}];",
                                          std::max<int64_t>(kernel.shared / 4, 1)));
  }
  const std::string include = "#include \"quern_opencl.h\"\n";
  return replace_all(device_source(program, DeviceLanguage::kOpencl, local), include,
                     include + kTensorCores);
}

void expect_emulated_meaning(const ir::Program& program, const DeviceProgram& plan,
                             const ir::Sizes& sizes) {
  OpenclMachine* machine = OpenclMachine::get();
  if (machine == nullptr) GTEST_SKIP() << "no OpenCL platform (pocl-opencl-icd)";
  const HostTensors inputs = draw_host_inputs(program, sizes, 7);
  DeviceProgram local = plan;
  for (DeviceKernel& kernel : local.kernels) kernel.shared = 0;
  const std::string source = emulated_source(program, plan);
  auto outputs = machine->run(program, sizes, local, source, inputs);
  ASSERT_TRUE(outputs) << outputs.error().message << outputs.error().hint << source;
  ASSERT_EQ(difference_from_meaning(program, sizes, inputs, *outputs), "") << source;
}

class DeviceRules : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    program_ = starter_task(GetParam());
    tiny_ = *ir::bind_sizes(program_, "tiny");
  }

  /// The first sketches of the rules, tuned for `sizes`, as launches; each launch list once.
  std::vector<DeviceProgram> plans(const ir::Sizes& sizes, DeviceLanguage language, size_t most) {
    const RulesMachine machine{132, 2 << 20, language};
    std::vector<DeviceProgram> made;
    std::set<std::string> known;
    for (const Sketch& sketch : sketches(program_, sizes, machine)) {
      if (made.size() == most) break;
      auto schedule = apply(sketch.trace, program_, sizes, machine.target());
      EXPECT_TRUE(schedule) << schedule.error().message;
      if (!schedule) continue;
      auto plan = make_device_program(program_, *schedule, sizes, language);
      // A row may exceed the registers.
      if (!plan) continue;
      std::string text;
      for (const DeviceKernel& kernel : plan->kernels) text += kernel.body;
      if (known.insert(text).second) made.push_back(std::move(*plan));
    }
    EXPECT_GE(made.size(), 1u);
    return made;
  }

  ir::Program program_;
  ir::Sizes tiny_;
};

TEST_P(DeviceRules, PlansForThePublishedSizesCompileForCuda) {
  if (!nvrtc_missing().empty()) GTEST_SKIP() << nvrtc_missing();
  for (const DeviceProgram& plan :
       plans(*ir::bind_sizes(program_, "full"), DeviceLanguage::kCuda, 3)) {
    const std::string source = device_source(program_, DeviceLanguage::kCuda, plan);
    ASSERT_EQ(nvrtc_refuses(source, size_options(program_, "full")), "") << source;
  }
}

TEST_P(DeviceRules, PlansMeanWhatTheTaskMeansAtOddSizes) {
  // Plans tuned for the published sizes take the general paths at tiny ones.
  std::vector<DeviceProgram> all = plans(tiny_, DeviceLanguage::kOpencl, 4);
  for (DeviceProgram& plan : plans(*ir::bind_sizes(program_, "full"), DeviceLanguage::kOpencl, 1)) {
    all.push_back(std::move(plan));
  }
  expect_meaning(program_, all, tiny_);
}

TEST_P(DeviceRules, PlansMeanWhatTheTaskMeansAtMultiplesOfAVector) {
  std::map<std::string, int64_t> values;
  for (const std::string& size : program_.free_sizes()) {
    values[size] = tiny_.at(size) * (values.empty() ? 1 : 4);
  }
  auto sizes = ir::bind_sizes(program_, values);
  ASSERT_TRUE(sizes) << sizes.error().message;
  expect_meaning(program_, plans(*sizes, DeviceLanguage::kOpencl, 3), *sizes);
}

INSTANTIATE_TEST_SUITE_P(Tasks, DeviceRules, testing::ValuesIn(starter_tasks()),
                         [](const auto& info) { return info.param; });

/// The launches of a trace, with the words of OpenCL C.
Result<DeviceProgram> plan_of(const ir::Program& program, const std::string& trace,
                              const ir::Sizes& sizes, ScheduleTarget target) {
  QUERN_ASSIGN(const Trace steps, parse_trace(trace));
  QUERN_ASSIGN(const Schedule schedule, apply(steps, program, sizes, target));
  return make_device_program(program, schedule, sizes, DeviceLanguage::kOpencl);
}

/// A plan of a task by the text of its trace; at the tiny sizes where no others are given.
void expect_trace_to_mean_the_task(const std::string& task, const std::string& trace,
                                   const std::map<std::string, int64_t>& sizes = {}) {
  const ir::Program program = starter_task(task);
  const ir::Sizes tiny =
      sizes.empty() ? *ir::bind_sizes(program, "tiny") : *ir::bind_sizes(program, sizes);
  auto plan = plan_of(program, trace, tiny, ScheduleTarget::kDevice);
  ASSERT_TRUE(plan) << plan.error().message;
  expect_meaning(program, {*plan}, tiny);
}

TEST(DeviceTrace, ScansOfLinesByOneThreadEachReachEveryLineUnderVectors) {
  expect_trace_to_mean_the_task("cumsum", "vectorize(y, width=4)\nlaunch_bounds(y, threads=32)\n",
                                {{"batch", 40}, {"dim", 5}});
}

TEST(DeviceTrace, ThreadsThatLieApartShareNoScan) {
  expect_trace_to_mean_the_task("cumsum", "cross_thread_reduction(y, width=4, apart=1)\n");
}

TEST(DeviceTrace, TilesCopiedInTheBackgroundHoldWhatTheTaskNeeds) {
  for (const char* task : {"matmul", "batch_matmul", "matmul_tall_skinny"}) {
    for (const char* width : {"1", "4"}) {
      expect_trace_to_mean_the_task(
          task, std::string("tensorize(c)\npack_panels(c, kc=4, mc=8, nc=8)\n") +
                    "software_pipeline(c, stages=3)\nvectorize(c, width=" + width + ")\n");
    }
  }
}

/// A tile of a warp of 16 by 16, two warps beside two.
std::string tensor_trace(const std::string& name, int depth, const std::string& rest) {
  return fmt::format(
      "tensorize({0})\nemulate_precision({0}, method=tf32x3)\nunroll_and_jam({0}, mr=1, nr=2)\n"
      "pack_panels({0}, kc={1}, mc=32, nc=32)\n{2}",
      name, depth, rest);
}

TEST(DeviceTrace, TensorCoresMeanWhatTheTaskMeansHoweverTilesAreFilled) {
  const ir::Program program = starter_task("matmul");
  for (const int64_t extent : {37, 44}) {
    const ir::Sizes sizes = *ir::bind_sizes(
        program, std::map<std::string, int64_t>{{"m", extent}, {"n", extent}, {"k", extent}});
    for (const char* rest : {"", "software_pipeline(c, stages=2)\n",
                             "software_pipeline(c, stages=3)\nvectorize(c, width=4)\n"}) {
      auto plan = plan_of(program, tensor_trace("c", 16, rest), sizes, ScheduleTarget::kCuda);
      ASSERT_TRUE(plan) << plan.error().message;
      expect_emulated_meaning(program, *plan, sizes);
    }
  }
}

TEST(DeviceTrace, TermsSharedByBlocksAddUpToTheWholeSum) {
  for (const char* rest : {"split_k(c, parts=2)\n", "split_k(c, parts=8)\n",
                           "software_pipeline(c, stages=2)\nsplit_k(c, parts=3)\n",
                           "software_pipeline(c, stages=3)\nsplit_k(c, parts=3)\n"}) {
    expect_trace_to_mean_the_task(
        "batch_matmul",
        std::string("tensorize(c)\npack_panels(c, kc=4, mc=8, nc=8)\nvectorize(c, width=4)\n") +
            rest);
  }
  const ir::Program program = starter_task("matmul_bias_gelu");
  const ir::Sizes tiny = *ir::bind_sizes(program, "tiny");
  const std::string trace =
      "compute_inline(y_linear)\n" +
      tensor_trace("y_linear_product", 8, "split_k(y_linear_product, parts=2)\n") +
      "reverse_compute_inline(y, into=y_linear_product)\n";
  auto plan = plan_of(program, trace, tiny, ScheduleTarget::kCuda);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->kernels.size(), 2u);
  expect_emulated_meaning(program, *plan, tiny);
}

TEST(DeviceTrace, TensorCoresTakeTransposedOperandsWindowsAndEpilogues) {
  for (const char* task : {"matmul_bias_gelu", "conv2d_bias_relu", "attention"}) {
    const ir::Program program = starter_task(task);
    const ir::Sizes tiny = *ir::bind_sizes(program, "tiny");
    const RulesMachine machine{132, 2 << 20, DeviceLanguage::kCuda};
    const Sketch first = sketches(program, tiny, machine).front();
    ASSERT_NE(print(first.trace).find("emulate_precision"), std::string::npos) << task;
    auto plan = plan_of(program, print(first.trace), tiny, ScheduleTarget::kCuda);
    ASSERT_TRUE(plan) << plan.error().message;
    expect_emulated_meaning(program, *plan, tiny);
  }
}

TEST(DeviceTrace, TensorCoresAreForCudaAloneAndASingleProductForConvolutionsThatMayRound) {
  const auto reason = [](const char* task, const std::string& precision, const std::string& trace,
                         ScheduleTarget target) -> std::string {
    ir::Program program = starter_task(task);
    program.precision = precision;
    auto plan = plan_of(program, trace, *ir::bind_sizes(program, "tiny"), target);
    return plan ? "" : plan.error().message;
  };
  using enum ScheduleTarget;
  const std::string three = "tensorize(c)\nemulate_precision(c)\n", one = "set_precision(";
  EXPECT_EQ(reason("matmul", "fp32", three + "unroll_and_jam(c, mr=2, nr=4)\n", kCuda), "");
  EXPECT_THAT(reason("matmul", "fp32", three, kDevice), testing::HasSubstr("OpenCL C"));
  EXPECT_THAT(reason("matmul", "fp32", three, kCpu), testing::HasSubstr("CPU"));
  EXPECT_THAT(reason("matmul", "fp32", "emulate_precision(c)\n", kCuda),
              testing::HasSubstr("not tensorized"));
  EXPECT_THAT(reason("matmul", "fp32", three + "pack_panels(c, kc=8, mc=40, nc=32)\n", kCuda),
              testing::HasSubstr("fragments of 16 by 8"));
  EXPECT_THAT(reason("matmul", "as_reference", "tensorize(c)\n" + one + "c)\n", kCuda),
              testing::HasSubstr("no convolution"));
  const ir::Program conv = starter_task("conv2d_bias_relu");
  for (const ir::Statement& statement : conv.statements) {
    if (statement.kind != ir::Statement::Kind::kReduce) continue;
    const std::string trace =
        fmt::format("tensorize({0})\nset_precision({0}, type=tf32)\n", statement.name);
    EXPECT_THAT(reason("conv2d_bias_relu", "fp32", trace, kCuda), testing::HasSubstr("fp32"));
    EXPECT_EQ(reason("conv2d_bias_relu", "as_reference", trace, kCuda), "");
  }
}

TEST(DeviceTrace, ConvolutionsThatMayRoundMultiplyOnceWithoutSplittingOperands) {
  ir::Program program = starter_task("conv2d_bias_relu");
  program.precision = "as_reference";
  const ir::Sizes sizes = *ir::bind_sizes(program, "cpu");
  auto plan = plan_of(program,
                      "tensorize(y_conv2d_sum)\nset_precision(y_conv2d_sum, type=tf32)\n"
                      "pack_panels(y_conv2d_sum, kc=16, mc=64, nc=64)\n",
                      sizes, ScheduleTarget::kCuda);
  ASSERT_TRUE(plan) << plan.error().message;
  const std::string source = device_source(program, DeviceLanguage::kCuda, *plan);
  EXPECT_THAT(source, testing::HasSubstr("= q_tf32("));
  EXPECT_THAT(source, testing::Not(testing::HasSubstr("q_tf32_split")));
  if (!nvrtc_missing().empty()) GTEST_SKIP() << nvrtc_missing();
  EXPECT_EQ(nvrtc_refuses(source, size_options(program, "cpu")), "") << source;
}

TEST(DeviceSketches, BeginWithRoundedOperandsWhereConvolutionsMayRound) {
  const auto first = [](const char* task, const char* precision, DeviceLanguage language) {
    ir::Program program = starter_task(task);
    program.precision = precision;
    const RulesMachine machine{132, 2 << 20, language};
    std::vector<std::string> traces;
    for (const Sketch& sketch : sketches(program, *ir::bind_sizes(program, "cpu"), machine)) {
      traces.push_back(print(sketch.trace));
    }
    return traces;
  };
  const auto rounds = testing::HasSubstr("set_precision");
  const auto traces = first("conv2d_bias_relu", "as_reference", DeviceLanguage::kCuda);
  EXPECT_THAT(traces[0], rounds);
  EXPECT_THAT(traces, testing::Contains(testing::HasSubstr("emulate_precision")));
  const auto none = testing::Not(testing::Contains(rounds));
  EXPECT_THAT(first("conv2d_bias_relu", "fp32", DeviceLanguage::kCuda), none);
  EXPECT_THAT(first("conv2d_bias_relu", "as_reference", DeviceLanguage::kOpencl), none);
  EXPECT_THAT(first("matmul", "as_reference", DeviceLanguage::kCuda), none);
}

TEST(DeviceTileParams, TensorCoresTakeTheTilesThatWereFastestAtTheSizesMeasured) {
  const ir::Program program = starter_task("matmul");
  const auto first = [&](const char* size) {
    const ir::Sizes sizes = *ir::bind_sizes(program, size);
    auto schedule = apply(*parse_trace("tensorize(c)\nemulate_precision(c)\n"), program, sizes,
                          ScheduleTarget::kCuda);
    return device_tile_params(program, schedule->groups[0], sizes, 132).front();
  };
  EXPECT_EQ(first("full").at("mc") * first("full").at("nc"), 128 * 128);
  EXPECT_EQ(first("cpu").at("mc") * first("cpu").at("nc"), 64 * 64);
  EXPECT_EQ(first("cpu").at("parts"), 1);
}

TEST(DeviceTrace, AWindowThatDoesNotFitLocalMemoryIsRefusedWithItsSize) {
  const ir::Program program = starter_task("avg_pool2d");
  const ir::Sizes full = *ir::bind_sizes(program, "full");
  auto steps = parse_trace(
      "reverse_compute_inline(y, into=y_sum)\n"
      "cache_read(y_sum, buffer=local, columns=128)\ncoarsen(y_sum, factor=8)\n");
  ASSERT_TRUE(steps);
  auto schedule = apply(*steps, program, full, ScheduleTarget::kDevice);
  ASSERT_TRUE(schedule) << schedule.error().message;
  auto plan = make_device_program(program, *schedule, full, DeviceLanguage::kCuda);
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("bytes of local memory"), std::string::npos);
}

TEST(DeviceTileParams, FewResultsTakeSmallTilesAndManyLargeOnes) {
  const ir::Program program = starter_task("matmul");
  const auto first = [&](int64_t extent) {
    const ir::Sizes sizes = *ir::bind_sizes(
        program, std::map<std::string, int64_t>{{"m", extent}, {"n", extent}, {"k", 64}});
    auto schedule = apply(*parse_trace("tensorize(c)\n"), program, sizes, ScheduleTarget::kDevice);
    const auto tile = device_tile_params(program, schedule->groups[0], sizes, 132).front();
    return tile.at("mc") * tile.at("nc");
  };
  EXPECT_LE(first(256), 32 * 32);
  EXPECT_EQ(first(8192), 128 * 128);
}

}  // namespace
}  // namespace quern
