// SPDX-License-Identifier: Apache-2.0
#include "device/windowed_compiler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace quern {
namespace {

/// Notes what it has in its hands.
class FakeCompiler : public DeviceCompiler {
 public:
  std::vector<Outcome<DeviceBinary>> compile_all(
      const std::vector<DeviceCompileJob>& jobs) override {
    return std::vector<Outcome<DeviceBinary>>(jobs.size(), DeviceBinary{"at once", {}});
  }
  std::vector<uint64_t> begin(const std::vector<DeviceCompileJob>& jobs) override {
    std::vector<uint64_t> names;
    for (const DeviceCompileJob& job : jobs) {
      begun.push_back(job.source);
      turns.push_back(job.turn);
      held.insert(begun.size());
      names.push_back(begun.size());
    }
    most = std::max(most, held.size());
    return names;
  }
  Outcome<DeviceBinary> collect(uint64_t name) override {
    EXPECT_EQ(held.erase(name), 1U);
    return DeviceBinary{begun[name - 1] + "!", {}};
  }
  bool ready(uint64_t name) override { return held.contains(name) && done.contains(name); }
  std::string version() const override { return "fake 1"; }

  std::vector<std::string> begun;
  std::vector<uint64_t> turns;
  std::set<uint64_t> held, done;
  size_t most = 0;
};

std::vector<DeviceCompileJob> jobs(int count) {
  std::vector<DeviceCompileJob> list(static_cast<size_t>(count));
  for (size_t i = 0; i < list.size(); ++i) list[i].source = std::to_string(i);
  return list;
}

TEST(WindowedCompiler, SaysWhichOfItsJobsAreTheFirst) {
  auto inner = std::make_shared<FakeCompiler>();
  WindowedCompiler one(inner, 3), other(inner, 2);
  one.begin(jobs(3));
  other.begin(jobs(2));
  EXPECT_EQ(inner->turns, (std::vector<uint64_t>{1, 2, 3, 1, 2}));
}

TEST(WindowedCompiler, KeepsToItsShareAndAnswersEveryName) {
  auto inner = std::make_shared<FakeCompiler>();
  WindowedCompiler compiler(inner, 3);
  const std::vector<uint64_t> names = compiler.begin(jobs(10));
  EXPECT_EQ(inner->begun.size(), 3U);
  for (size_t i = 0; i < names.size(); ++i) {
    auto outcome = compiler.collect(names[i]);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->image, std::to_string(i) + "!");
  }
  EXPECT_EQ(inner->most, 3U);
  EXPECT_TRUE(inner->held.empty());
}

TEST(WindowedCompiler, KeepsNoGuardsWaiting) {
  auto inner = std::make_shared<FakeCompiler>();
  WindowedCompiler compiler(inner, 2);
  const std::vector<uint64_t> names = compiler.begin(jobs(5));
  std::vector<DeviceCompileJob> guards = jobs(1);
  guards[0].guards = true;
  guards[0].source = "guards";
  const uint64_t name = compiler.begin(guards).front();
  EXPECT_EQ(inner->begun.back(), "guards");
  EXPECT_EQ(compiler.collect(name)->image, "guards!");
  for (const uint64_t plain : names) EXPECT_TRUE(compiler.collect(plain));
}

TEST(WindowedCompiler, HandsOnAtOnceWhatIsWaitedFor) {
  auto inner = std::make_shared<FakeCompiler>();
  WindowedCompiler compiler(inner, 2);
  const std::vector<uint64_t> names = compiler.begin(jobs(6));
  EXPECT_EQ(compiler.collect(names[5])->image, "5!");
  for (size_t i = 0; i < 5; ++i)
    EXPECT_EQ(compiler.collect(names[i])->image, std::to_string(i) + "!");
  EXPECT_EQ(inner->begun.size(), 6U);
}

TEST(WindowedCompiler, SaysWhatNeedNotBeWaitedFor) {
  auto inner = std::make_shared<FakeCompiler>();
  WindowedCompiler compiler(inner, 2);
  const std::vector<uint64_t> names = compiler.begin(jobs(3));
  EXPECT_FALSE(compiler.ready(names[1]));
  inner->done = {2};
  EXPECT_FALSE(compiler.ready(names[0]));
  EXPECT_TRUE(compiler.ready(names[1]));
  EXPECT_FALSE(compiler.ready(names[2]));
  (void)compiler.collect(names[1]);
  EXPECT_FALSE(compiler.ready(names[1]));
}

TEST(WindowedCompiler, CollectsAtItsEndWhatItBegan) {
  auto inner = std::make_shared<FakeCompiler>();
  {
    WindowedCompiler compiler(inner, 2);
    (void)compiler.begin(jobs(6));
    EXPECT_EQ(inner->held.size(), 2U);
  }
  EXPECT_TRUE(inner->held.empty());
  EXPECT_EQ(inner->begun.size(), 2U);
}

}  // namespace
}  // namespace quern
