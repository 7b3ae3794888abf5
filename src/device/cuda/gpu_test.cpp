// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "device/cpu/testing.h"
#include "device/cuda/compile_pool.h"
#include "device/cuda/cubin_set.h"
#include "device/cuda/fake_driver_testing.h"
#include "device/cuda/gpu_buffers.h"
#include "device/cuda/gpu_call.h"

namespace quern::cuda {
namespace {

using testing::HasSubstr;

constexpr uint64_t kPage = fake::kPage;

class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Gpu::open(make_fake_driver(fake_), 0);
    ASSERT_TRUE(opened) << opened.error().message;
    gpu_ = std::move(*opened);
  }
  Access rights_at(DevicePointer at) const {
    for (const auto& [start, range] : fake_.ranges) {
      if (at >= start && at < start + range.bytes) return range.access;
    }
    return Access::kNone;
  }

  FakeGpu fake_;
  std::unique_ptr<Gpu> gpu_;
};

TEST_F(GpuTest, PutsDataBetweenPagesThatAreNotMapped) {
  auto left = GpuMemory::make(*gpu_, 1000, GpuMemory::Place::kLeft);
  auto right = GpuMemory::make(*gpu_, 1000, GpuMemory::Place::kRight);
  ASSERT_TRUE(left && right);
  EXPECT_EQ(left->data() % 256, 0u);
  EXPECT_EQ(left->before_bytes(), 0u);
  EXPECT_EQ(left->after_bytes(), kPage - 1000);
  EXPECT_EQ(right->data() % 16, 0u);
  EXPECT_LT(right->after_bytes(), 16u);
  for (const auto* memory : {&*left, &*right}) {
    EXPECT_EQ(rights_at(memory->data()), Access::kReadWrite);
    EXPECT_EQ(rights_at(memory->before() - 1), Access::kNone);
    EXPECT_EQ(rights_at(memory->before() + memory->mapped_bytes()), Access::kNone);
  }
}

TEST_F(GpuTest, GivesMemoryBack) {
  { ASSERT_TRUE(GpuMemory::make(*gpu_, 5000, GpuMemory::Place::kLeft)); }
  EXPECT_TRUE(fake_.ranges.empty());
  EXPECT_TRUE(fake_.reserved.empty());
}

TEST_F(GpuTest, LowersRightsOnlyBeforeACandidateRuns) {
  GpuBuffers buffers(*gpu_);
  ASSERT_TRUE(buffers.allocate(1, 100 << 20, Placement::kLeft));
  auto at = buffers.touch(1, Access::kRead);
  ASSERT_TRUE(at);
  ASSERT_TRUE(buffers.allow(1, Access::kRead));
  EXPECT_EQ(rights_at(at->data), Access::kReadWrite);
  ASSERT_TRUE(buffers.protect());
  EXPECT_EQ(rights_at(at->data), Access::kRead);
  ASSERT_TRUE(buffers.touch(1, Access::kRead));
  EXPECT_EQ(rights_at(at->data), Access::kRead);
  ASSERT_TRUE(buffers.touch(1, Access::kReadWrite));
  EXPECT_EQ(rights_at(at->data), Access::kReadWrite);
  ASSERT_TRUE(buffers.allow(1, Access::kNone));
  ASSERT_TRUE(buffers.protect());
  EXPECT_EQ(rights_at(at->data), Access::kNone);
  const size_t changes = fake_.calls["set_access"];
  ASSERT_TRUE(buffers.protect());
  EXPECT_EQ(fake_.calls["set_access"], changes);
}

TEST_F(GpuTest, ExchangesWhatLiesBehindTwoAddressesAndHidesOne) {
  GpuBuffers buffers(*gpu_);
  for (const BufferId id : {1u, 2u}) ASSERT_TRUE(buffers.allocate(id, 5000, Placement::kRight));
  ASSERT_TRUE(buffers.pin(1));
  const auto shown = buffers.touch(1, Access::kNone), hidden = buffers.touch(2, Access::kNone);
  ASSERT_TRUE(shown && hidden);
  ASSERT_TRUE(buffers.allow(1, Access::kRead));
  const auto handle_at = [&](DevicePointer at) {
    const auto found = fake_.ranges.find(at / kPage * kPage);
    return found == fake_.ranges.end() ? MemoryHandle{0} : found->second.handle;
  };
  const MemoryHandle one = handle_at(shown->data), other = handle_at(hidden->data);
  ASSERT_NE(one, other);
  ASSERT_TRUE(buffers.exchange(1, 2));
  EXPECT_EQ(handle_at(shown->data), other);
  EXPECT_EQ(rights_at(shown->data), Access::kRead);
  EXPECT_EQ(rights_at(hidden->data), Access::kNone);
  ASSERT_TRUE(buffers.exchange(1, 2));
  EXPECT_EQ(handle_at(shown->data), one);
  EXPECT_EQ(rights_at(hidden->data), Access::kNone);
  EXPECT_EQ(buffers.touch(1, Access::kRead)->data, shown->data);
}

TEST_F(GpuTest, ExchangesOnlyBuffersThatAreAlike) {
  GpuBuffers buffers(*gpu_);
  ASSERT_TRUE(buffers.allocate(1, 5000, Placement::kLeft));
  ASSERT_TRUE(buffers.allocate(2, 6000, Placement::kLeft));
  ASSERT_TRUE(buffers.allocate(3, 5000, Placement::kLeft));
  ASSERT_TRUE(buffers.allow(3, Access::kNone));  // shares pages from now on
  EXPECT_FALSE(buffers.exchange(1, 2));
  EXPECT_FALSE(buffers.exchange(1, 3));
  EXPECT_FALSE(buffers.exchange(1, 4));
}

TEST_F(GpuTest, HidesSmallBuffersTogether) {
  GpuBuffers buffers(*gpu_);
  for (BufferId id = 1; id <= 10; ++id) {
    ASSERT_TRUE(buffers.allocate(id, 1000, Placement::kLeft));
    auto view = buffers.touch(id, Access::kReadWrite);
    ASSERT_TRUE(view);
    const char mark = static_cast<char>(id);
    ASSERT_EQ(fake::copy_in(view->data + 999, &mark, 1, nullptr), kSuccess);
    ASSERT_TRUE(buffers.allow(id, Access::kNone));
  }
  ASSERT_TRUE(buffers.protect());
  EXPECT_TRUE(fake_.ranges.empty());
  const size_t maps = fake_.calls["map"];
  for (BufferId id = 1; id <= 10; ++id) {
    auto view = buffers.touch(id, Access::kRead);
    ASSERT_TRUE(view);
    EXPECT_EQ(*reinterpret_cast<const char*>(view->data + 999), static_cast<char>(id));
  }
  EXPECT_EQ(fake_.calls["map"], maps + 1);
  ASSERT_TRUE(buffers.protect());
  EXPECT_TRUE(fake_.ranges.empty());
}

TEST_F(GpuTest, LeavesABufferThatACandidateKnowsWhereItIs) {
  GpuBuffers buffers(*gpu_);
  ASSERT_TRUE(buffers.allocate(1, 1000, Placement::kRight));
  ASSERT_TRUE(buffers.pin(1));
  const auto before = buffers.touch(1, Access::kRead);
  ASSERT_TRUE(buffers.allow(1, Access::kNone));
  ASSERT_TRUE(buffers.protect());
  EXPECT_EQ(rights_at(before->data), Access::kNone);
  const auto after = buffers.touch(1, Access::kRead);
  EXPECT_EQ(before->data, after->data);
  EXPECT_FALSE(buffers.touch(2, Access::kRead));
}

/// Needs NVRTC for the cubin whose parameters decide how arguments are laid out.
class GpuCallTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    auto library = find_nvrtc("", {});
    if (!library) GTEST_SKIP() << library.error().message;
    CompilePoolOptions options;
    options.library = *library;
    options.cache_dir = folder_ = testing::TempDir() + "quern_gpu_test_" + std::to_string(getpid());
    auto pool = CompilePool::make(options);
    ASSERT_TRUE(pool) << pool.error().message;
    auto binary = (*pool)->compile(
        {"struct Half { unsigned short bits; };\n"
         "extern \"C\" __global__ void f(const float* x, short n, Half h, float a, double b,\n"
         "                             unsigned char c) {}\n"
         "struct Work { const float* x; int n; float* y; char room[300]; };\n"
         "extern \"C\" __global__ void g(Work w, const float* x) {}"});
    ASSERT_TRUE(binary) << trouble(binary);
    image_ = binary->image;
    auto module = GpuModule::load(*gpu_, binary->image);
    ASSERT_TRUE(module) << trouble(module);
    module_ = std::make_unique<GpuModule>(std::move(*module));
    launch_.kernel = "f";
    launch_.arguments = {{LaunchArgument::Kind::kBuffer}, whole(-7),
                         scalar(PlanType::kF16, 1.5),     scalar(PlanType::kF32, 0.1),
                         scalar(PlanType::kF64, 0.1),     whole(200)};
  }
  void TearDown() override {
    module_.reset();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  static BoundArgument whole(int64_t value) {
    BoundArgument argument;
    argument.kind = LaunchArgument::Kind::kWhole;
    argument.whole = value;
    return argument;
  }
  static BoundArgument scalar(PlanType type, double value) {
    BoundArgument argument;
    argument.kind = LaunchArgument::Kind::kScalar;
    argument.type = type;
    argument.real = value;
    return argument;
  }
  Outcome<GpuCall> call() {
    BoundPlan plan;
    plan.steps = {launch_};
    CallBuffers buffers;
    buffers.inputs = {0x1234};
    return GpuCall::make(*gpu_, *module_, plan, buffers);
  }
  std::string reason() {
    auto made = call();
    return made.has_verdict() ? verdict_reason(made.verdict()) : "no verdict";
  }
  template <class T>
  T argument(size_t index) const {
    T value;
    std::memcpy(&value, fake_.launches.back().arguments[index], sizeof value);
    return value;
  }

  std::string folder_, image_;
  std::unique_ptr<GpuModule> module_;
  BoundLaunch launch_;
};

TEST_F(GpuCallTest, LaysArgumentsOutAsTheKernelHasThem) {
  launch_.grid = {3, 2, 1};
  launch_.cluster = {1, 2, 1};
  launch_.shared_bytes = 1000;
  auto made = call();
  ASSERT_TRUE(made) << trouble(made);
  ASSERT_EQ(made->enqueue(*gpu_), kSuccess);
  EXPECT_EQ(argument<uint64_t>(0), 0x1234u);
  EXPECT_EQ(argument<int16_t>(1), -7);
  EXPECT_EQ(argument<uint16_t>(2), 0x3e00);
  EXPECT_EQ(argument<float>(3), 0.1f);
  EXPECT_EQ(argument<double>(4), 0.1);
  EXPECT_EQ(argument<uint8_t>(5), 200);
  const FakeGpu::Launch& launch = fake_.launches.back();
  EXPECT_EQ(launch.kernel, "f");
  EXPECT_EQ(launch.config.grid[0], 3u);
  EXPECT_EQ(launch.config.shared_bytes, 1000u);
  ASSERT_EQ(launch.attributes.size(), 1u);
  EXPECT_EQ(launch.attributes[0].id, LaunchAttribute::Id::kClusterDimension);
  EXPECT_EQ(launch.attributes[0].value[1], 2u);
}

TEST_F(GpuCallTest, LaysOutStructsWithPointersInsideAndPointersIntoBuffers) {
  BoundArgument pointer;
  pointer.offset = 64;
  BoundArgument work;
  work.kind = LaunchArgument::Kind::kStruct;
  work.members = {pointer, scalar(PlanType::kI64, 0), BoundArgument{}};
  work.members[1].whole = 0x700000005;
  for (int i = 0; i < 75; ++i) {
    work.members.push_back(scalar(PlanType::kI32, 0));
    work.members.back().whole = i;
  }
  work.members.push_back(scalar(PlanType::kU32, 0));
  launch_.kernel = "g";
  launch_.arguments = {work, pointer};
  fake_.parameters = 2;
  auto made = call();
  ASSERT_TRUE(made) << trouble(made);
  ASSERT_EQ(made->enqueue(*gpu_), kSuccess);
  struct Work {
    uint64_t x;
    uint64_t n;
    uint64_t y;
    int32_t room[75];
  };
  const auto passed = argument<Work>(0);
  EXPECT_EQ(passed.x, 0x1274u);
  EXPECT_EQ(passed.n, 0x700000005u);
  EXPECT_EQ(passed.y, 0x1234u);
  EXPECT_EQ(passed.room[74], 74);
  EXPECT_EQ(argument<uint64_t>(1), 0x1274u);
  launch_.arguments[0].members.pop_back();
  EXPECT_THAT(reason(), HasSubstr("argument 1 has 324 bytes, the parameter 328"));
}

TEST_F(GpuCallTest, FindsKernelsInTheCubinThatALaunchNames) {
  auto two = GpuModule::load(*gpu_, pack_cubins({image_, image_}));
  ASSERT_TRUE(two) << trouble(two);
  EXPECT_EQ(two->kernels(1).size(), 2U);
  EXPECT_NE(two->find("f", 1), nullptr);
  EXPECT_EQ(two->find("f", 2), nullptr);
  launch_.cubin = 1;
  EXPECT_THAT(reason(), HasSubstr("no such kernel"));
  auto none = GpuModule::load(*gpu_, pack_cubins({image_, "no cubin"}));
  ASSERT_TRUE(none.has_verdict());
  EXPECT_THAT(verdict_reason(none.verdict()), HasSubstr("is not a cubin"));
}

TEST_F(GpuCallTest, SetsAndCopiesWholeBuffers) {
  float memory[3] = {1, 2, 3};
  CallBuffers buffers;
  for (float& one : memory) buffers.outputs.push_back(reinterpret_cast<DevicePointer>(&one));
  const auto output = [](int index) { return BufferRef{BufferRef::Kind::kOutput, index}; };
  BoundPlan plan;
  plan.steps = {BoundFill{output(0), 0, 4}, BoundCopy{output(1), output(2), 4}};
  auto made = GpuCall::make(*gpu_, *module_, plan, buffers);
  ASSERT_TRUE(made) << trouble(made);
  ASSERT_EQ(made->enqueue(*gpu_), kSuccess);
  EXPECT_THAT(memory, testing::ElementsAre(0, 3, 3));
}

TEST_F(GpuCallTest, SaysWhatDoesNotFit) {
  launch_.arguments[1] = whole(70'000);
  EXPECT_THAT(reason(), HasSubstr("argument 2 is 70000, too large for a parameter of 2 bytes"));
  launch_.arguments[1] = scalar(PlanType::kF64, 1);
  EXPECT_THAT(reason(), HasSubstr("argument 2 has 8 bytes, the parameter 2"));
  launch_.arguments.pop_back();
  EXPECT_THAT(reason(), HasSubstr("5 arguments for 6 parameters"));
  launch_.shared_bytes = 300'000;
  launch_.arguments.push_back(whole(1));
  EXPECT_THAT(reason(), HasSubstr("a block of this GPU has at most 232448"));
  launch_.kernel = "ff";
  EXPECT_THAT(reason(), HasSubstr("no such kernel; did you mean 'f'?"));
}

TEST_F(GpuCallTest, WaitsForTheCallBeforeHoweverItsFirstLaunchIsMarked) {
  launch_.programmatic = true;
  BoundPlan plan;
  plan.steps = {launch_, launch_};
  CallBuffers buffers;
  buffers.inputs = {0};
  auto made = GpuCall::make(*gpu_, *module_, plan, buffers);
  ASSERT_TRUE(made) << trouble(made);
  ASSERT_EQ(made->enqueue(*gpu_), kSuccess);
  EXPECT_TRUE(fake_.launches[0].attributes.empty());
  ASSERT_EQ(fake_.launches[1].attributes.size(), 1u);
  EXPECT_EQ(fake_.launches[1].attributes[0].id, LaunchAttribute::Id::kProgrammaticSerialization);
}

TEST_F(GpuCallTest, TellsFaultsOfDeviceCodeFromRefusedLaunches) {
  auto made = call();
  ASSERT_TRUE(made);
  fake_.next_launch = 701;
  EXPECT_FALSE(gpu_->check(made->enqueue(*gpu_), "a launch"));
  EXPECT_EQ(gpu_->fault(), kSuccess);
  fake_.next_launch = kIllegalAddress;
  EXPECT_FALSE(gpu_->check(made->enqueue(*gpu_), "a launch"));
  EXPECT_EQ(gpu_->fault(), kIllegalAddress);
  const Verdict verdict = explain_fault(gpu_->driver(), gpu_->fault(), made->last_kernel());
  EXPECT_EQ(verdict_name(verdict), "rejected");
  EXPECT_THAT(verdict_evidence(verdict), HasSubstr("f: CUDA_ERROR_FAKE"));
}

}  // namespace
}  // namespace quern::cuda
