// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "codegen/device_oracle.h"
#include "nvrtc.h"
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

}  // namespace
}  // namespace quern
