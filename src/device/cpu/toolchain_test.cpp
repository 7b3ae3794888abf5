// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/toolchain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/strings.h"
#include "device/cpu/symbols.h"

namespace quern {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;

const Toolchain::Step kLink = {"ld",       "-shared", "-o",     "candidate.so", "candidate.o",
                               "-lstdc++", "-lm",     "-lgomp", "-lgcc_s",      "-lc"};

TEST(LighterLink, AKernelThatCallsNothingNeedsTheCLibraryOnly) {
  EXPECT_THAT(lighter_link(kLink, {}),
              ElementsAre("ld", "-shared", "-o", "candidate.so", "candidate.o", "-lc"));
  EXPECT_THAT(lighter_link(kLink, {"memset"}), Not(Contains("-lm")));
}

TEST(LighterLink, KeepsWhatIsUsed) {
  EXPECT_THAT(lighter_link(kLink, {"GOMP_parallel"}), Contains("-lgomp"));
  EXPECT_THAT(lighter_link(kLink, {"omp_get_thread_num"}), Contains("-lgomp"));
  EXPECT_THAT(lighter_link(kLink, {"expf"}), Contains("-lm"));
  EXPECT_THAT(lighter_link(kLink, {"expf"}), Not(Contains("-lstdc++")));
}

TEST(LighterLink, CppAndUnknownNamesKeepEverything) {
  EXPECT_EQ(lighter_link(kLink, {"_Znwm"}), kLink);
  EXPECT_EQ(lighter_link(kLink, {"expf", "__cxa_throw"}), kLink);
}

TEST(StepsFor, PutsMacrosBeforeTheSourceAndLibrariesAfterTheObject) {
  Toolchain toolchain;
  toolchain.steps = {{"cc1plus", "-O3", "candidate.cpp"}, kLink};
  auto steps = steps_for(toolchain, {{"N", -3}}, "folder", {"openblas"});
  EXPECT_THAT(steps[0],
              ElementsAre("cc1plus", "-O3", "-I", "folder", "-D", "N=-3", "candidate.cpp"));
  EXPECT_EQ(steps[1][5], "-lopenblas");
  EXPECT_EQ(steps[1].size(), kLink.size() + 1);
}

TEST(ProbeToolchain, NamesNoFolderButOursInItsSteps) {
  std::string folder = testing::TempDir() + "quern_toolchain_test_" + std::to_string(getpid());
  ASSERT_TRUE(make_directories(folder));
  auto toolchain = probe_toolchain("g++", folder);
  ASSERT_TRUE(toolchain) << toolchain.error().message;
  EXPECT_TRUE(toolchain->gcc);
  ASSERT_EQ(toolchain->steps.size(), 3u);
  for (const auto& step : toolchain->steps) {
    EXPECT_EQ(join(step, " ").find(folder), std::string::npos) << join(step, " ");
  }
  EXPECT_THAT(toolchain->steps[1], Contains("candidate.s"));
  EXPECT_THAT(toolchain->steps[2], Contains("candidate.o"));
  std::filesystem::remove_all(folder);
}

TEST(Symbols, AFileThatIsNotElfIsAnError) {
  EXPECT_FALSE(exported_functions("/proc/self/comm"));
  EXPECT_FALSE(exported_functions("/no/such/file"));
  auto own = exported_functions("/proc/self/exe");
  EXPECT_TRUE(own) << "an executable has tables too";
}

}  // namespace
}  // namespace quern
