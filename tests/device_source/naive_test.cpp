// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "codegen/device_naive.h"
#include "nvrtc.h"
#include "opencl_machine.h"
#include "starter_tasks.h"

namespace quern {
namespace {

class NaiveDevice : public testing::TestWithParam<std::string> {};

TEST_P(NaiveDevice, CompilesForCuda) {
  if (!nvrtc_missing().empty()) GTEST_SKIP() << nvrtc_missing();
  const ir::Program program = starter_task(GetParam());
  EXPECT_EQ(nvrtc_refuses(emit_device_naive(program, DeviceLanguage::kCuda)), "");
  EXPECT_EQ(nvrtc_refuses(emit_device_naive(program, DeviceLanguage::kCuda),
                          size_options(program, "full")),
            "");
}

TEST_P(NaiveDevice, MeansWhatTheTaskMeansOnOpencl) {
  OpenclMachine* machine = OpenclMachine::get();
  if (machine == nullptr) GTEST_SKIP() << "no OpenCL platform (pocl-opencl-icd)";
  const ir::Program program = starter_task(GetParam());
  const ir::Sizes sizes = *ir::bind_sizes(program, "tiny");
  const HostTensors inputs = draw_host_inputs(program, sizes, 3);
  auto outputs = machine->run(program, sizes, naive_device_program(program),
                              emit_device_naive(program, DeviceLanguage::kOpencl), inputs);
  ASSERT_TRUE(outputs) << outputs.error().message << outputs.error().hint;
  EXPECT_EQ(difference_from_meaning(program, sizes, inputs, *outputs), "");
}

INSTANTIATE_TEST_SUITE_P(Tasks, NaiveDevice, testing::ValuesIn(starter_tasks()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace quern
