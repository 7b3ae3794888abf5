// SPDX-License-Identifier: Apache-2.0
#include "schedule/schedule.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "schedule/actions.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::int_axis;
using ir::int_size;

/// Softmax over the rows of a matrix.
ir::Program softmax() {
  ir::Program program;
  program.name = "softmax";
  program.sizes = {{"rows", 8, {}}, {"dim", 100, {}}};
  program.inputs = {{"x", DType::kF32, {int_size("rows"), int_size("dim")}, {}, false}};
  const ir::Axis i{"i", int_size("rows")};
  const ir::Axis j{"j", int_size("dim")};
  auto at = [](const char* name) { return ir::load(name, {int_axis("i"), int_axis("j")}); };
  auto row = [](const char* name) { return ir::load(name, {int_axis("i")}); };
  ir::Statement m{"m", DType::kF32, {i}};
  m.kind = ir::Statement::Kind::kReduce;
  m.monoid = ir::Monoid::kMax;
  m.reduce_axes = {j};
  m.body = at("x");
  ir::Statement e{"e", DType::kF32, {i, j}};
  e.body = ir::apply(ir::Op::kExp, {ir::apply(ir::Op::kSub, {at("x"), row("m")})});
  ir::Statement s = m;
  s.name = "s";
  s.monoid = ir::Monoid::kSum;
  s.body = at("e");
  ir::Statement y{"y", DType::kF32, {i, j}};
  y.body = ir::apply(ir::Op::kDiv, {at("e"), row("s")});
  y.is_output = true;
  program.statements = {m, e, s, y};
  return program;
}

const ir::Sizes kSizes = {{"rows", 8}, {"dim", 100}};

Result<Schedule> replay(const std::string& text) {
  auto trace = parse_trace(text);
  if (!trace) return trace.error();
  return apply(*trace, softmax(), kSizes);
}

TEST(Actions, AreTheFiftyOneOfTheTableEachWithOneName) {
  std::set<std::string_view> names;
  int id = 0;
  for (const ActionInfo& action : all_actions()) {
    EXPECT_EQ(action.id, ++id);
    names.insert(action.name);
    EXPECT_EQ(find_action(action.name), &action);
    EXPECT_FALSE(action.summary.empty());
    EXPECT_FALSE(action.legality.empty());
    EXPECT_EQ(action.how.empty(), action.support == Support::kApplied) << action.name;
    EXPECT_EQ(action.support == Support::kGpuOnly, !action.cpu) << action.name;
  }
  EXPECT_EQ(names.size(), 51u);
  EXPECT_EQ(find_action("no_such_action"), nullptr);
}

TEST(Actions, SayOnEveryTargetWhetherAndHowTheyAreApplied) {
  using enum ScheduleTarget;
  const ActionInfo& emulate = *find_action("emulate_precision");
  EXPECT_EQ(support_on(emulate, kCuda), Support::kApplied);
  for (const ScheduleTarget target : {kCpu, kDevice}) {
    EXPECT_EQ(support_on(emulate, target), Support::kLater);
    EXPECT_FALSE(how_on(emulate, target).empty());
  }
  for (const ActionInfo& action : all_actions()) {
    if (!action.cuda_how.empty()) continue;
    EXPECT_EQ(support_on(action, kCuda), support_on(action, kDevice)) << action.name;
    EXPECT_EQ(how_on(action, kCuda), how_on(action, kDevice)) << action.name;
  }
}

TEST(Trace, PrintedParsesBackToItself) {
  std::mt19937 random(3);
  auto word = [&] { return std::string(1 + random() % 5, static_cast<char>('a' + random() % 26)); };
  for (int round = 0; round < 200; ++round) {
    Trace trace;
    for (size_t s = random() % 6; s > 0; --s) {
      Step step{word(), word() + "_1", {}};
      for (size_t a = random() % 3; a > 0; --a) {
        step.args.emplace_back(word(), std::to_string(static_cast<int>(random() % 1000) - 500));
      }
      trace.push_back(std::move(step));
    }
    auto parsed = parse_trace(print(trace));
    ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
    EXPECT_EQ(*parsed, trace);
  }
}

TEST(Trace, RefusesWhatIsNoStepAndSaysWhere) {
  auto parsed = parse_trace("parallel(y)\nvectorize y\n");
  ASSERT_FALSE(parsed.has_value());
  EXPECT_NE(parsed.error().message.find("trace:2:11"), std::string::npos) << parsed.error().message;
  EXPECT_FALSE(parse_trace("split(y, axis=)").has_value());
  EXPECT_FALSE(parse_trace("split(y) junk").has_value());
}

TEST(Schedule, EmptyTraceGivesEachStatementItsOwnGroup) {
  auto schedule = replay("");
  ASSERT_TRUE(schedule.has_value());
  EXPECT_EQ(schedule->groups.size(), 4u);
}

TEST(Schedule, FusesTheRowsOfSoftmax) {
  auto schedule = replay(
      "reverse_compute_inline(e, into=m)\ncompute_with(s, with=m)\n"
      "reverse_compute_inline(y, into=m)\n");
  ASSERT_TRUE(schedule.has_value()) << schedule.error().message;
  ASSERT_EQ(schedule->groups.size(), 1u);
  EXPECT_EQ(schedule->groups[0].statements, (std::vector<int>{0, 1, 2, 3}));
}

TEST(Schedule, RecomputesAnInlinedMapInBothReaders) {
  auto schedule = replay("compute_inline(e)\n");
  ASSERT_TRUE(schedule.has_value()) << schedule.error().message;
  ASSERT_EQ(schedule->groups.size(), 3u);
  EXPECT_EQ(schedule->groups[1].inlined, std::vector<int>{1});
  EXPECT_EQ(schedule->groups[2].inlined, std::vector<int>{1});
}

TEST(Schedule, RefusesAMergeAroundAnotherGroup) {
  auto schedule = replay("compute_with(y, with=m)\n");
  ASSERT_FALSE(schedule.has_value());
  EXPECT_EQ(schedule.error().kind, ErrorKind::kInput);
  EXPECT_NE(schedule.error().message.find("path"), std::string::npos);
}

TEST(Schedule, PipelinesPassesOverOneRow) {
  auto schedule = replay("reverse_compute_inline(e, into=m)\nsoftware_pipeline(m, stages=2)\n");
  ASSERT_TRUE(schedule.has_value()) << schedule.error().message;
  EXPECT_EQ(schedule->groups[0].param("pipeline", 0), 2);
}

TEST(Schedule, SaysWhichStepIsIllegalAndWhy) {
  const std::pair<const char*, const char*> cases[] = {
      {"parallel(y)\nbind(y, axis=i, to=lane)\n", "step 2"},
      {"no_such(y)\n", "no action of that name"},
      {"parallel(q)\n", "no statement `q`"},
      {"compute_inline(m)\n", "only a map"},
      {"compute_inline(y)\n", "output"},
      {"unroll(y)\n", "`factor` is missing"},
      {"unroll(y, factor=99)\n", "between 1 and 16"},
      {"unroll(y, factor=many)\n", "whole number"},
      {"unroll(y, factor=2, speed=3)\n", "no argument `speed`"},
      {"tensorize(s)\n", "product"},
      {"pack_panels(y, kc=1, mc=1, nc=1)\n", "not tensorized"},
      {"vectorize(y, axis=z)\n", "no axis `z`"},
      {"rfactor(y)\n", "no reduction"},
      {"non_temporal_store(m)\nnon_temporal_store(q)\n", "step 2"},
      {"software_pipeline(y, stages=2)\n", "passes over a row once"},
      {"software_pipeline(y, stages=1)\n", "between 2 and 6"},
  };
  for (const auto& [trace, why] : cases) {
    auto schedule = replay(trace);
    ASSERT_FALSE(schedule.has_value()) << trace;
    EXPECT_NE(schedule.error().message.find(why), std::string::npos) << schedule.error().message;
  }
}

TEST(Schedule, CutsTheLastRowAxisOfAGroupedNormalisation) {
  // mean[g] over blocks of c; y[c] reads mean[c / 4].
  const ir::Axis g{"g", int_size("groups")};
  ir::Statement mean{"mean", DType::kF32, {g}};
  mean.kind = ir::Statement::Kind::kReduce;
  mean.reduce_axes = {{"k", ir::int_constant(4)}};
  mean.body = ir::load("x", {int_axis("g") * ir::int_constant(4) + int_axis("k")});
  ir::Statement y{"y", DType::kF32, {{"c", int_size("channels")}}};
  y.body = ir::load("mean",
                    {ir::int_binary(ir::IntExpr::Kind::kDiv, int_axis("c"), ir::int_constant(4))});
  auto plan = share_rows({mean, y}, 1);
  ASSERT_TRUE(plan.has_value());
  ASSERT_TRUE(plan->bindings[1][0].factor.has_value());
  EXPECT_EQ(*plan->bindings[1][0].factor, ir::int_constant(4));
}

TEST(LegalActions, AreAllLegal) {
  Trace trace;
  std::mt19937 random(11);
  for (int depth = 0; depth < 6; ++depth) {
    const std::vector<Step> legal = legal_actions(softmax(), trace, kSizes);
    ASSERT_FALSE(legal.empty());
    for (const Step& step : legal) {
      Trace longer = trace;
      longer.push_back(step);
      EXPECT_TRUE(apply(longer, softmax(), kSizes).has_value()) << print(longer);
    }
    trace.push_back(legal[random() % legal.size()]);
  }
}

}  // namespace
}  // namespace quern
