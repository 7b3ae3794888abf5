// SPDX-License-Identifier: Apache-2.0
#include "evaluate/guard_policy.h"

#include <gtest/gtest.h>

#include <vector>

namespace quern {
namespace {

using Look = GuardPolicy::Look;
using Use = GuardPolicy::Use;

using Code = GuardPolicy::Code;

constexpr Code kPlain = Code::kPlain, kTraps = Code::kTraps;

void note(GuardPolicy& policy, Look look, int times) {
  for (int i = 0; i < times; ++i) policy.note(look);
}

TEST(GuardPolicy, KnowsCodeThatMeansToTrap) {
  EXPECT_EQ(GuardPolicy::code_of("@%p1 trap;"), kTraps);
  EXPECT_EQ(GuardPolicy::code_of("ld.global.f32 %f1, [%rd1];"), kPlain);
  EXPECT_EQ(GuardPolicy::code_of(""), Code::kUnknown);
}

TEST(GuardPolicy, BeginsWithoutGuardsButForWhatMeansToTrap) {
  const GuardPolicy policy;
  EXPECT_FALSE(policy.wants(kPlain));
  EXPECT_TRUE(policy.wants(kTraps));
  EXPECT_FALSE(policy.wants(Code::kUnknown));
}

TEST(GuardPolicy, TakesGuardsWhenHarmIsFrequent) {
  GuardPolicy policy;
  note(policy, Look::kHarmless, 100);
  policy.note(Look::kHarm);
  EXPECT_FALSE(policy.wants(kPlain));
  note(policy, Look::kHarmless, 48);
  policy.note(Look::kHarm);
  EXPECT_TRUE(policy.wants(kPlain));
}

TEST(GuardPolicy, TakesTheFirstHarmOfAYoungStreamForASign) {
  GuardPolicy early, late;
  note(early, Look::kHarmless, 20);
  note(late, Look::kHarmless, 40);
  early.note(Look::kHarm);
  late.note(Look::kHarm);
  EXPECT_TRUE(early.wants(kPlain));
  EXPECT_FALSE(late.wants(kPlain));
}

TEST(GuardPolicy, LeavesRareHarmAlone) {
  GuardPolicy policy;
  for (int i = 0; i < 20; ++i) {
    note(policy, Look::kHarmless, 60);
    policy.note(Look::kHarm);
    EXPECT_FALSE(policy.wants(kPlain)) << i;
  }
}

TEST(GuardPolicy, KeepsGuardsWhileTheyCatchAndDropsThemAfterwards) {
  GuardPolicy policy;
  note(policy, Look::kHarm, 2);
  for (int i = 0; i < 5; ++i) {
    note(policy, Look::kHarmless, 100);
    policy.note(Look::kCaught);
    EXPECT_TRUE(policy.wants(kPlain)) << i;
  }
  note(policy, Look::kHarmless, 150);
  EXPECT_FALSE(policy.wants(kPlain));
}

TEST(GuardPolicy, DoesAsItIsTold) {
  GuardPolicy never(Use::kNever), always(Use::kAlways);
  note(never, Look::kHarm, 10);
  EXPECT_FALSE(never.wants(kTraps));
  note(always, Look::kHarmless, 1000);
  EXPECT_TRUE(always.wants(kPlain));
  EXPECT_FALSE(always.wants(Code::kUnknown));
  EXPECT_EQ(parse_guard_use("always"), Use::kAlways);
  EXPECT_FALSE(parse_guard_use("perhaps"));
}

/// Answers every job with "<source> guarded".
class EchoCompiler : public DeviceCompiler {
 public:
  std::vector<Outcome<DeviceBinary>> compile_all(
      const std::vector<DeviceCompileJob>& jobs) override {
    std::vector<Outcome<DeviceBinary>> made;
    for (const DeviceCompileJob& job : jobs) {
      if (job.source == "bad" || !job.guards) {
        made.emplace_back(Verdict(CompileFailed{"cannot be guarded", ""}));
      } else {
        made.emplace_back(DeviceBinary{job.source + " guarded", {}});
      }
    }
    return made;
  }
  std::string version() const override { return "echo"; }
  size_t waiting() const { return waiting_.size(); }
};

TEST(GuardBuild, GivesTheImageOnceItIsThere) {
  auto compiler = std::make_shared<EchoCompiler>();
  GuardBuild build;
  EXPECT_FALSE(build.begun());
  EXPECT_EQ(*build.image(), "");
  build.begin(compiler, "listing");
  EXPECT_TRUE(build.begun());
  EXPECT_TRUE(build.ready());
  GuardBuild moved = std::move(build);
  EXPECT_EQ(*moved.image(), "listing guarded");
  EXPECT_EQ(*moved.image(), "listing guarded");
  moved.drop();
  EXPECT_EQ(*moved.image(), "");
}

TEST(GuardBuild, IsEmptyForWhatCannotBeGuarded) {
  GuardBuild build;
  build.begin(std::make_shared<EchoCompiler>(), "bad");
  EXPECT_EQ(*build.image(), "");
}

TEST(GuardBuild, CollectsWhatNobodyAskedFor) {
  auto compiler = std::make_shared<EchoCompiler>();
  {
    GuardBuild build;
    build.begin(compiler, "listing");
    EXPECT_EQ(compiler->waiting(), 1u);
  }
  EXPECT_EQ(compiler->waiting(), 0u);
}

}  // namespace
}  // namespace quern
