// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/hash.h"
#include "record/json.h"

namespace quern {
namespace {

Evaluation full_evaluation() {
  Evaluation e;
  e.candidate_id = "abc";
  Timing timing;
  timing.samples_ns = {1.0 / 3.0, 0.1, 1e300, 5e-324};
  timing.median_ns = 0.1 + 0.2;
  timing.calls_per_sample = 7;
  timing.early_rejected = true;
  e.verdict = Passed{"V2", "exact integers", timing};
  e.build = {"g++ 12", "-O3", "warning: \"x\"\n", "ff", 12.5, true};
  e.checks = {{"tiny", "V1", true, std::numeric_limits<double>::infinity(), -0.0, "d"}};
  e.stages_ms = {{"compile", 1.25}, {"total", 2}};
  e.roofline = 0.875;
  e.alarm = "faster than the floor";
  e.notes = {"no landlock"};
  return e;
}

TEST(RecordJson, RoundTripsAnEvaluationExactly) {
  Evaluation before = full_evaluation();
  Result<Json> text = parse_json(dump(to_json(before)));
  ASSERT_TRUE(text);
  Result<Evaluation> after = from_json<Evaluation>(*text);
  ASSERT_TRUE(after) << after.error().message;
  const Timing* timing = timing_of(after->verdict);
  ASSERT_NE(timing, nullptr);
  EXPECT_EQ(timing->samples_ns, timing_of(before.verdict)->samples_ns);
  EXPECT_EQ(timing->median_ns, 0.1 + 0.2);
  EXPECT_TRUE(std::isinf(after->checks[0].max_error));
  EXPECT_TRUE(std::signbit(after->checks[0].rms_error));
  EXPECT_EQ(after->alarm, before.alarm);
  EXPECT_EQ(dump(to_json(*after)), dump(to_json(before)));
}

TEST(RecordJson, RoundTripsEveryVerdict) {
  std::vector<Verdict> verdicts = {CompileFailed{"r", "e"},    LaunchFailed{"r", "e"},
                                   Crashed{"r", "e", 11},      TimedOut{"r", "e", 2.5},
                                   WrongResult{"r", "e"},      Rejected{"fork", "r", "e"},
                                   Passed{"V1", "m", Timing{}}};
  for (const Verdict& verdict : verdicts) {
    Result<Verdict> back = from_json<Verdict>(to_json(verdict));
    ASSERT_TRUE(back) << verdict_name(verdict);
    EXPECT_EQ(back->index(), verdict.index());
    EXPECT_EQ(dump(to_json(*back)), dump(to_json(verdict)));
    EXPECT_EQ(verdict_reason(*back), passed(verdict) ? "" : "r");
    EXPECT_EQ(verdict_evidence(*back), passed(verdict) ? "" : "e");
  }
}

TEST(RecordJson, RoundTripsOptionsWithALargeSeed) {
  RunOptions options;
  options.seed = std::numeric_limits<uint64_t>::max();
  options.task_text = "task relu(n = 4)\n";
  Result<RunOptions> back = from_json<RunOptions>(*parse_json(dump(to_json(options))));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->seed, options.seed);
  EXPECT_EQ(back->task_text, options.task_text);
}

TEST(RecordJson, NamesThePathOfAValueOfTheWrongType) {
  Json json = to_json(full_evaluation());
  json["verdict"]["timing"]["samples_ns"][2] = "fast";
  Result<Evaluation> bad = from_json<Evaluation>(json);
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("verdict.timing.samples_ns[2]"), std::string::npos)
      << bad.error().message;
}

TEST(RecordJson, RefusesAnUnknownVerdict) {
  EXPECT_FALSE(from_json<Verdict>(Json{{"verdict", "fine"}}));
  EXPECT_FALSE(from_json<Verdict>(Json::array()));
}

TEST(RecordJson, WritesBytesThatAreNotUtf8) {
  EXPECT_NE(dump(Json("a\xff")).find("\xef\xbf\xbd"), std::string::npos);
}

TEST(Plan, ReadsTheLinesAtTheHeadOnly) {
  Result<Plan> plan = parse_plan(
      "// a kernel\n//   quern:  entry =  my_fn \n\n// quern: specialize = sizes\nint x;\n"
      "// quern: entry = other\n",
      "task");
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->entry, "my_fn");
  EXPECT_TRUE(plan->specialize);
}

TEST(Plan, DefaultsToTheNameOfTheTask) {
  Result<Plan> plan = parse_plan("int x;", "softmax");
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->entry, "softmax");
  EXPECT_FALSE(plan->specialize);
}

TEST(Plan, RefusesUnknownKeysAndBadValues) {
  Result<Plan> unknown = parse_plan("// quern: entri = f\n", "f");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("line 1"), std::string::npos);
  EXPECT_FALSE(parse_plan("// quern: entry = 2f\n", "f"));
  EXPECT_FALSE(parse_plan("// quern: specialize = all\n", "f"));
  EXPECT_FALSE(parse_plan("// quern: entry\n", "f"));
}

TEST(Candidate, HasAnIdThatDependsOnItsBytesOnly) {
  Candidate a = make_candidate("int x;", "rules");
  EXPECT_EQ(a.id, make_candidate("int x;", "human").id);
  EXPECT_NE(a.id, make_candidate("int y;", "rules").id);
  EXPECT_EQ(a.id.size(), 64u);
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace quern
