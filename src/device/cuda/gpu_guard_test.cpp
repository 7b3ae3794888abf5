// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/gpu_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr uint64_t kPage = uint64_t{2} << 20;
constexpr uint64_t kLimit = 60'000'000;

std::vector<GuardRange> two_buffers() {
  return {{10 * kPage, 11 * kPage, true, 2, 11 * kPage - 4096, 4096},
          {4 * kPage, 6 * kPage, false, 1, 4 * kPage, kPage + 100}};
}

TEST(GpuGuard, SortsAndJoinsRanges) {
  auto ranges = two_buffers();
  ranges.push_back({11 * kPage, 12 * kPage, true, 0, 0, 0});
  const auto table = guard_table(ranges, kLimit);
  ASSERT_TRUE(table);
  ASSERT_EQ(table->size(), 1u + 3 * kGuardRanges);
  const std::vector<uint64_t> begin(table->begin(), table->begin() + 13);
  EXPECT_THAT(begin, testing::ElementsAre(kLimit, 0u, 0u, 0u, 4 * kPage, 6 * kPage, 0u, 10 * kPage,
                                          12 * kPage, 1u, ~uint64_t{0}, 0u, 0u));
}

TEST(GpuGuard, KnowsSoManyRangesAndNoMore) {
  std::vector<GuardRange> ranges;
  for (uint64_t i = 1; i < kGuardRanges; ++i) {
    ranges.push_back({3 * i * kPage, (3 * i + 1) * kPage, true, 1, 0, 0});
  }
  EXPECT_TRUE(guard_table(ranges, kLimit));
  ranges.push_back({1, 2, true, 1, 0, 0});
  EXPECT_FALSE(guard_table(ranges, kLimit));
}

std::string verdict(GuardReport report) {
  report.claimed = 1;
  const GuardNotes notes{{{"f", "ld.global.f32"}, {"g", "st.global.f32"}}, {}};
  const GuardFinding found = guard_finding(report, notes, two_buffers(), kLimit);
  const Verdict made = guard_verdict(
      found, [](BufferId id) { return id == 1 ? std::string("input x") : "output y"; });
  return std::string(verdict_name(made)) + ": " + verdict_reason(made) + "; " +
         verdict_evidence(made);
}

TEST(GpuGuard, SaysWhereAnAccessWent) {
  GuardReport report;
  report.kind = GuardReport::Kind::kOutside;
  report.what = 1 << 8 | 128 | 3;
  report.bytes = 4;
  report.address = 11 * kPage + 8;
  report.block[0] = 3;
  report.thread[1] = 7;
  EXPECT_EQ(verdict(report),
            "rejected: g wrote 4 bytes past the end of output y, 8 bytes from its end; g: "
            "st.global.f32, block (3, 0, 0), thread (0, 7, 0), address 0x1600008");
  report.what = 3;
  report.address = 4 * kPage - 16;
  EXPECT_THAT(verdict(report),
              HasSubstr("f read 4 bytes before the start of input x, 16 bytes from its start"));
  report.address = uint64_t{1} << 60;
  EXPECT_THAT(verdict(report), HasSubstr("far from every buffer"));
  report.kind = GuardReport::Kind::kReadOnly;
  report.what = 1 << 8 | 128 | 3;
  report.address = 4 * kPage + 40;
  EXPECT_THAT(verdict(report), HasSubstr("rejected: g wrote 4 bytes in input x, at byte 40"));
}

TEST(GpuGuard, SaysWhatElseEndedAKernel) {
  GuardReport report;
  report.kind = GuardReport::Kind::kTrap;
  EXPECT_THAT(verdict(report),
              AllOf(HasSubstr("crashed: f trapped"), HasSubstr("block (0, 0, 0)")));
  report.kind = GuardReport::Kind::kDeadline;
  EXPECT_THAT(verdict(report), HasSubstr("timed_out: a loop of f did not end within 0.06 s"));
  report.kind = GuardReport::Kind::kAssertion;
  EXPECT_THAT(verdict(report), HasSubstr("crashed: an assertion of f failed"));
  report.kind = GuardReport::Kind::kMisaligned;
  EXPECT_THAT(verdict(report), HasSubstr("crashed: f read"));
}

TEST(GpuGuard, FindsItsNotesBehindTheMachineCode) {
  const GuardNotes notes{{{"f", "ld.global.f32"}}, {"table"}};
  const std::string image = pack_guarded("machine code", notes);
  EXPECT_TRUE(image.starts_with("machine code"));
  const auto read = read_guard_notes(image);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->sites, notes.sites);
  EXPECT_EQ(read->globals, notes.globals);
  EXPECT_FALSE(read_guard_notes("machine code"));
  EXPECT_FALSE(read_guard_notes(image.substr(20)));
}

}  // namespace
}  // namespace quern::cuda
