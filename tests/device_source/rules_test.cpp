// SPDX-License-Identifier: Apache-2.0
#include "propose/rules.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "codegen/emit_device.h"
#include "nvrtc.h"
#include "opencl_machine.h"
#include "starter_tasks.h"

namespace quern {
namespace {

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

  void expect_meaning(const std::vector<DeviceProgram>& all, const ir::Sizes& sizes) {
    OpenclMachine* machine = OpenclMachine::get();
    if (machine == nullptr) GTEST_SKIP() << "no OpenCL platform (pocl-opencl-icd)";
    const HostTensors inputs = draw_host_inputs(program_, sizes, 5);
    for (const DeviceProgram& plan : all) {
      const std::string source = device_source(program_, DeviceLanguage::kOpencl, plan);
      auto outputs = machine->run(program_, sizes, plan, source, inputs);
      ASSERT_TRUE(outputs) << outputs.error().message << outputs.error().hint << source;
      ASSERT_EQ(difference_from_meaning(program_, sizes, inputs, *outputs), "") << source;
    }
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
  expect_meaning(all, tiny_);
}

TEST_P(DeviceRules, PlansMeanWhatTheTaskMeansAtMultiplesOfAVector) {
  std::map<std::string, int64_t> values;
  for (const std::string& size : program_.free_sizes()) {
    values[size] = tiny_.at(size) * (values.empty() ? 1 : 4);
  }
  auto sizes = ir::bind_sizes(program_, values);
  ASSERT_TRUE(sizes) << sizes.error().message;
  expect_meaning(plans(*sizes, DeviceLanguage::kOpencl, 3), *sizes);
}

INSTANTIATE_TEST_SUITE_P(Tasks, DeviceRules, testing::ValuesIn(starter_tasks()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace quern
