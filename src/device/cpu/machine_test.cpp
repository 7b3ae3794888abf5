// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"

namespace quern {
namespace {

using testing::HasSubstr;

class MachineTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "quern_machine_test_" + std::to_string(getpid());
    CompilerOptions options;
    options.cache_dir = folder_;
    auto made = CpuCompiler::make(options);
    ASSERT_TRUE(made) << made.error().message;
    compiler_ = std::move(*made);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
  std::unique_ptr<CpuCompiler> compiler_;
};

TEST_F(MachineTest, PeaksAreMeasuredAndSurviveAFile) {
  auto peaks = measure_peaks(*compiler_, 1);
  ASSERT_TRUE(peaks) << peaks.error().message;
  ASSERT_EQ(peaks->curve.size(), 6u);
  // Generous: any machine moves more than 0.1 and less than 100,000 GB/s.
  for (const BandwidthPoint& point : peaks->curve) {
    EXPECT_GT(point.copy_gbs, 0.1);
    EXPECT_LT(point.copy_gbs, 1e5);
    EXPECT_GT(point.read_gbs, 0.1);
    EXPECT_LT(point.read_gbs, 1e5);
  }
  EXPECT_GT(peaks->fma_gflops, 0.1);
  ASSERT_TRUE(save_peaks(*peaks, folder_ + "/peaks.json"));
  auto loaded = load_peaks(folder_ + "/peaks.json");
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->cpu, peaks->cpu);
  EXPECT_EQ(loaded->threads, 1);
  EXPECT_EQ(loaded->curve[3].copy_gbs, peaks->curve[3].copy_gbs);
  EXPECT_EQ(loaded->fma_gflops, peaks->fma_gflops);
}

TEST_F(MachineTest, DamagedFilesAreErrors) {
  std::string path = folder_ + "/peaks.json";
  EXPECT_FALSE(load_peaks(path));
  for (const char* text : {"", "[]", "{\"threads\": 2}", "{\"threads\": 2, \"fma_gflops\": 1}",
                           "{\"threads\": 2, \"fma_gflops\": 1, \"curve\": [1]}",
                           "{\"threads\": \"x\", \"fma_gflops\": 1, \"curve\": []}"}) {
    ASSERT_TRUE(write_file_atomic(path, text));
    auto loaded = load_peaks(path);
    ASSERT_FALSE(loaded) << text;
    EXPECT_THAT(loaded.error().message, HasSubstr("peaks.json"));
  }
}

TEST_F(MachineTest, TheEnvironmentIsFilledIn) {
  Environment environment = probe_machine(*compiler_, 2);
  EXPECT_NE(environment.cpu, "");
  EXPECT_EQ(environment.threads, 2);
  EXPECT_THAT(environment.kernel, HasSubstr("Linux"));
  EXPECT_THAT(environment.compiler, HasSubstr("g++"));
  EXPECT_NE(environment.sandbox, "");
}

TEST(Peaks, BandwidthIsThatOfTheNextSmallerMeasuredSetAndNeverLessThanALargerOnes) {
  Peaks peaks;
  peaks.curve = {{100, 50, 60}, {1000, 20, 30}, {10000, 10, 35}};
  EXPECT_EQ(peaks.bandwidth_gbs(10), 60);
  EXPECT_EQ(peaks.bandwidth_gbs(100), 60);
  EXPECT_EQ(peaks.bandwidth_gbs(999), 60);
  EXPECT_EQ(peaks.bandwidth_gbs(1000), 35);
  EXPECT_EQ(peaks.bandwidth_gbs(1'000'000), 35);
  EXPECT_EQ(peaks.copy_gbs(), 10);
}

}  // namespace
}  // namespace quern
