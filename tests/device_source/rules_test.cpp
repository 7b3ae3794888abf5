// SPDX-License-Identifier: Apache-2.0
#include "propose/rules.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

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
      auto schedule = apply(sketch.trace, program_, sizes, ScheduleTarget::kDevice);
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

/// A plan of a task by the text of its trace; at the tiny sizes where no others are given.
void expect_trace_to_mean_the_task(const std::string& task, const std::string& trace,
                                   const std::map<std::string, int64_t>& sizes = {}) {
  const ir::Program program = starter_task(task);
  const ir::Sizes tiny =
      sizes.empty() ? *ir::bind_sizes(program, "tiny") : *ir::bind_sizes(program, sizes);
  auto steps = parse_trace(trace);
  ASSERT_TRUE(steps) << steps.error().message;
  auto schedule = apply(*steps, program, tiny, ScheduleTarget::kDevice);
  ASSERT_TRUE(schedule) << schedule.error().message;
  auto plan = make_device_program(program, *schedule, tiny, DeviceLanguage::kOpencl);
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
