// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "nvrtc.h"

namespace quern {
namespace {

/// Hand-written candidates.
std::vector<std::string> examples() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("examples/cuda")) {
    if (entry.path().extension() == ".cu") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class CudaExample : public testing::TestWithParam<std::string> {};

TEST_P(CudaExample, CompilesForHopper) {
  if (!nvrtc_missing().empty()) GTEST_SKIP() << nvrtc_missing();
  auto source = read_file("examples/cuda/" + GetParam() + ".cu");
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ(nvrtc_refuses(*source), "");
}

INSTANTIATE_TEST_SUITE_P(Sources, CudaExample, testing::ValuesIn(examples()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace quern
