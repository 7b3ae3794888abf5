// SPDX-License-Identifier: Apache-2.0
#include "device/device_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "device/device_protocol.h"
#include "record/json.h"

namespace quern {
namespace {

using testing::HasSubstr;

/// A device that is a map of byte strings.
class FakeBackend : public DeviceBackend {
 public:
  Result<DeviceProperties> open() override {
    DeviceProperties properties;
    properties.name = "fake";
    properties.memory_bytes = 1000;
    return properties;
  }
  Outcome<DeviceBinary> compile(const DeviceCompileJob& job) override {
    if (job.source.empty()) return Verdict(CompileFailed{"nothing to compile", "line 1"});
    return DeviceBinary{job.source + "!", {}};
  }
  Result<void> allocate(BufferId id, uint64_t bytes, Placement) override {
    if (bytes > 1000) return Error{ErrorKind::kEnvironment, "no memory", "take less"};
    buffers[id].resize(bytes);
    return {};
  }
  Result<void> release(BufferId id) override {
    buffers.erase(id);
    return {};
  }
  Result<void> allow(BufferId, DeviceAccess) override { return {}; }
  Result<void> upload(BufferId id, std::span<const std::byte> bytes) override {
    buffers[id].assign(bytes.begin(), bytes.end());
    return {};
  }
  Result<void> download(BufferId id, std::span<std::byte> bytes) override {
    std::ranges::copy(buffers[id], bytes.begin());
    return {};
  }
  Result<void> copy(BufferId to, BufferId from) override {
    buffers[to] = buffers[from];
    return {};
  }
  Result<void> fill(BufferId id, uint8_t byte) override {
    std::ranges::fill(buffers[id], std::byte{byte});
    return {};
  }
  Result<bool> guards_intact(BufferId id) override { return buffers.contains(id); }
  Result<void> forget_kept() override {
    ++forgot;
    return {};
  }
  Outcome<std::vector<KernelResources>> load(ProgramId, const std::string& image,
                                             const BoundPlan& plan,
                                             const std::vector<BufferSet>& sets) override {
    loaded = plan;
    return std::vector<KernelResources>{{image, static_cast<int>(sets.size()), 0, 0, 0, 0.5}};
  }
  Result<void> unload(ProgramId) override { return {}; }
  Result<void> poison_scratch(ProgramId, uint8_t) override { return {}; }
  Result<bool> scratch_guards_intact(ProgramId) override { return true; }
  Outcome<double> run(ProgramId, int calls, int) override {
    if (calls == 13) return Verdict(TimedOut{"too long", "evidence", 2});
    return calls * 10.0;
  }
  Outcome<Profile> profile(ProgramId id) override {
    if (id != 7) return DeviceBackend::profile(id);
    return Profile{{{"k", {{"dram", "memory", "%", 12.5}}, {{"s", "barrier", "warps", 3}}, "why"}},
                   13};
  }

  std::map<BufferId, std::vector<std::byte>> buffers;
  BoundPlan loaded;
  int forgot = 0;  ///< times
};

class DeviceServerTest : public testing::Test {
 protected:
  /// The answer's status and the rest of its bytes.
  std::pair<ReplyStatus, std::string> ask(std::string order, std::string block = "") {
    Frame frame = {std::move(order)};
    if (!block.empty()) frame.push_back(std::move(block));
    const Frame reply = server.answer(frame);
    EXPECT_EQ(reply.size(), 1U);
    ReplyStatus status{};
    WireReader(std::string_view(reply[0]).substr(0, sizeof status))(status);
    return {status, reply[0].substr(sizeof status)};
  }

  FakeBackend backend;
  bool confined = false;
  DeviceServer server{backend, *Staging::make(), [this] { confined = true; }};
};

TEST_F(DeviceServerTest, OpensTheDeviceThenIsConfined) {
  const auto [status, answer] = ask(to_wire(DeviceOrder::kOpen));
  EXPECT_EQ(status, ReplyStatus::kDone);
  const auto properties = from_wire<DeviceProperties>(answer);
  ASSERT_TRUE(properties);
  EXPECT_EQ(std::get<0>(*properties).name, "fake");
  EXPECT_TRUE(confined);
}

TEST_F(DeviceServerTest, PassesErrorsAndVerdictsOnWhole) {
  const auto [error_status, error_text] =
      ask(to_wire(DeviceOrder::kAllocate, BufferId{1}, uint64_t{2000}, Placement::kLeft));
  EXPECT_EQ(error_status, ReplyStatus::kError);
  const auto error = from_wire<Error>(error_text);
  ASSERT_TRUE(error);
  EXPECT_EQ(std::get<0>(*error).hint, "take less");
  const auto [status, text] = ask(to_wire(DeviceOrder::kRun, ProgramId{1}, 13, 0, 2));
  EXPECT_EQ(status, ReplyStatus::kVerdict);
  const auto verdict = from_json<Verdict>(*parse_json(std::get<0>(*from_wire<std::string>(text))));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(std::get<TimedOut>(*verdict).limit_s, 2);
}

TEST_F(DeviceServerTest, RunsAsManyBatchesAsItIsAskedTo) {
  const auto [status, text] = ask(to_wire(DeviceOrder::kRun, ProgramId{1}, 5, 0, 3));
  ASSERT_EQ(status, ReplyStatus::kDone);
  const auto ran = from_wire<Ran>(text);
  ASSERT_TRUE(ran);
  EXPECT_EQ(std::get<0>(*ran).ns, (std::vector<double>{50, 50, 50}));
  EXPECT_EQ(std::get<0>(*ran).clock_mhz, 0);
}

TEST_F(DeviceServerTest, RefusesToExchangeBuffersWhereTheDeviceCannot) {
  const auto [status, text] = ask(to_wire(DeviceOrder::kExchange, BufferId{1}, BufferId{2}));
  EXPECT_EQ(status, ReplyStatus::kError);
  const auto error = from_wire<Error>(text);
  ASSERT_TRUE(error);
  EXPECT_EQ(std::get<0>(*error).kind, ErrorKind::kUsage);
}

TEST_F(DeviceServerTest, TellsTheDeviceToForgetWhatCachesWereAskedToKeep) {
  const auto [status, answer] = ask(to_wire(DeviceOrder::kForgetKept));
  EXPECT_EQ(status, ReplyStatus::kDone);
  EXPECT_EQ(backend.forgot, 1);
}

TEST_F(DeviceServerTest, HandsOnWhatTheHardwareCountedOrWhyItDidNot) {
  const auto [status, text] = ask(to_wire(DeviceOrder::kProfile, ProgramId{7}));
  ASSERT_EQ(status, ReplyStatus::kDone);
  const auto profile = from_wire<Profile>(text);
  ASSERT_TRUE(profile);
  const LaunchProfile& launch = std::get<0>(*profile).launches.at(0);
  EXPECT_EQ(launch.counters.at(0).value, 12.5);
  EXPECT_EQ(launch.stalls.at(0).label, "barrier");
  EXPECT_EQ(launch.meaning, "why");
  const auto [refused, reason] = ask(to_wire(DeviceOrder::kProfile, ProgramId{8}));
  ASSERT_EQ(refused, ReplyStatus::kError);
  EXPECT_THAT(std::get<0>(*from_wire<Error>(reason)).message, HasSubstr("no hardware counters"));
}

TEST_F(DeviceServerTest, LooksAtGuardsWhereTheDeviceDoesNotCompare) {
  backend.buffers[1] = {};
  InspectOrder order;
  order.scratch_of = 1;
  for (const bool there : {true, false}) {
    order.guarded = {there ? BufferId{1} : BufferId{2}};
    const auto [status, text] = ask(to_wire(DeviceOrder::kInspect, order));
    ASSERT_EQ(status, ReplyStatus::kDone);
    const auto found = from_wire<Inspection>(text);
    ASSERT_TRUE(found);
    EXPECT_EQ(std::get<0>(*found).intact, there);
  }
  order.compares.resize(1);
  EXPECT_EQ(ask(to_wire(DeviceOrder::kInspect, order)).first, ReplyStatus::kError);
}

TEST_F(DeviceServerTest, HandsThePlanToTheBackendAsItWas) {
  BoundPlan plan;
  plan.scratch = {{"s", PlanType::kF16, 128}};
  BoundTensorMap map;
  map.name = "m";
  map.extents = {64, 8};
  map.strides_bytes = {256};
  map.swizzle = Swizzle::k128B;
  plan.maps = {map};
  BoundLaunch launch;
  launch.kernel = "k";
  launch.grid = {3, 2, 1};
  launch.arguments = {{LaunchArgument::Kind::kScalar, {}, 0, PlanType::kF32, 0, 0.25},
                      {LaunchArgument::Kind::kBuffer, {BufferRef::Kind::kOutput, 1}}};
  plan.steps = {BoundFill{{BufferRef::Kind::kScratch, 0}, 7, 0}, launch};
  const std::vector<BufferSet> sets = {{{1, 2}, {3}}, {{4, 5}, {6}}};
  const auto [status, answer] = ask(to_wire(DeviceOrder::kLoad, ProgramId{1}, plan, sets), "image");
  ASSERT_EQ(status, ReplyStatus::kDone);
  EXPECT_EQ(backend.loaded, plan);
  const auto resources = from_wire<std::vector<KernelResources>>(answer);
  ASSERT_TRUE(resources);
  EXPECT_EQ(std::get<0>(*resources)[0].kernel, "image");
  EXPECT_EQ(std::get<0>(*resources)[0].registers, 2);
}

TEST_F(DeviceServerTest, AnswersWhatIsNoOrderWithAnError) {
  std::vector<Frame> frames = {{}, {""}, {"abc"}, {std::string(200, '\xff')}};
  for (uint32_t order = 0; order < 40; ++order) {
    frames.push_back({to_wire(order) + std::string(3, '\x7f')});
  }
  for (const Frame& frame : frames) {
    const Frame reply = server.answer(frame);
    ReplyStatus status{};
    WireReader(std::string_view(reply.at(0)).substr(0, sizeof status))(status);
    const bool opens = !frame.empty() && frame[0].substr(0, 4) == to_wire(uint32_t{0});
    EXPECT_EQ(status, opens ? ReplyStatus::kDone : ReplyStatus::kError);
  }
}

TEST(Wire, GivesNothingForTextsThatAreCutOffOrLonger) {
  const std::string text = to_wire(std::vector<std::string>{"one", "two"}, 7, std::optional(2.5));
  using Parts = std::vector<std::string>;
  ASSERT_TRUE((from_wire<Parts, int, std::optional<double>>(text)));
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE((from_wire<Parts, int, std::optional<double>>(text.substr(0, size)))) << size;
  }
  EXPECT_FALSE((from_wire<Parts, int, std::optional<double>>(text + "x")));
  EXPECT_FALSE((from_wire<Parts>(std::string(8, '\xff')))) << "a count no text can hold";
}

TEST(Staging, BothSidesSeeTheSameBytesAndOneGrowsThem) {
  auto ours = Staging::make();
  ASSERT_TRUE(ours);
  auto view = ours->view(100);
  ASSERT_TRUE(view);
  std::memcpy(view->data(), "hello", 5);
  Staging theirs = Staging::attach(dup(ours->fd()));
  auto seen = theirs.view(100);
  ASSERT_TRUE(seen);
  EXPECT_EQ(std::memcmp(seen->data(), "hello", 5), 0);
  EXPECT_FALSE(theirs.view(uint64_t{1} << 30)) << "the file is not theirs to grow";
  ASSERT_TRUE(ours->view(uint64_t{8} << 20));
  EXPECT_TRUE(theirs.view(uint64_t{8} << 20));
}

}  // namespace
}  // namespace quern
