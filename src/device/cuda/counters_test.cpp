// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/counters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "device/cuda/fake_driver_testing.h"

namespace quern::cuda {
namespace {

using testing::HasSubstr;

std::vector<double> values_with(const std::string& label, double value) {
  std::vector<double> values(profile_metrics().size(), 0.5);
  for (size_t i = 0; i < values.size(); ++i) {
    if (profile_metrics()[i].label == label) values[i] = value;
  }
  return values;
}

TEST(Counters, NamesEveryMetricOnce) {
  std::set<std::string> names, labels;
  for (const Metric& metric : profile_metrics()) {
    EXPECT_TRUE(names.insert(metric.name).second) << metric.name;
    EXPECT_TRUE(labels.insert(metric.label).second) << metric.label;
  }
}

TEST(Counters, SaysWhatTheLargestStallMeans) {
  const LaunchProfile launch = launch_profile("k", values_with("barrier", 3));
  EXPECT_EQ(launch.kernel, "k");
  EXPECT_EQ(launch.stalls.front().label, "barrier");
  EXPECT_EQ(launch.stalls.front().value, 3);
  EXPECT_THAT(launch.meaning, HasSubstr("mbarriers"));
  EXPECT_EQ(launch.counters.size() + launch.stalls.size(), profile_metrics().size());
  EXPECT_THAT(launch_profile("k", values_with("long scoreboard", 9)).meaning,
              HasSubstr("waiting for global memory"));
}

TEST(Counters, MeansNothingWhereNothingWasCounted) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> values(profile_metrics().size(), none);
  const LaunchProfile launch = launch_profile("k", values);
  EXPECT_EQ(launch.meaning, "");
  EXPECT_TRUE(std::isnan(launch.stalls.front().value));
  std::vector<double> one = values;
  one.back() = 1;  // "not selected", behind all that have no value
  EXPECT_EQ(launch_profile("k", one).stalls.front().value, 1);
}

TEST(Counters, SaysThatThereIsNoLibraryAndWhatToDo) {
  FakeGpu fake;
  auto gpu = Gpu::open(make_fake_driver(fake), 0);
  ASSERT_TRUE(gpu) << gpu.error().message;
  const auto none = Counters::open(**gpu, "/no/such/libcupti.so");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kEnvironment);
  EXPECT_THAT(none.error().message, HasSubstr("/no/such/libcupti.so"));
  EXPECT_THAT(none.error().hint, HasSubstr("nvidia-cuda-cupti"));
  const auto other = Counters::open(**gpu, "libm.so.6");
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message, HasSubstr("lacks cupti"));
}

TEST(Counters, FindsNoLibraryWhereThereIsNone) {
  EXPECT_EQ(find_cupti("/no/such/folder/libnvrtc.so", {"/no/such/environment"}).find("/no/such"),
            std::string::npos);
}

}  // namespace
}  // namespace quern::cuda
