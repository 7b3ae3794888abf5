// SPDX-License-Identifier: Apache-2.0
#include "llm/structured.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/fake_testing.h"
#include "llm/untrusted_json.h"

namespace quern::llm {
namespace {

using testing::HasSubstr;

Request plan_request() {
  Request request;
  request.model = "chat/m";
  request.messages = {{Role::kUser, "A plan, please.", {}, ""}};
  request.schema = *parse_json(
      R"({"type": "object", "properties": {"tile": {"type": "integer"}}, "required": ["tile"]})");
  return request;
}

Request tool_request() {
  Request request = plan_request();
  request.tools = {{"apply", "Applies it.", *request.schema}};
  request.schema.reset();
  return request;
}

Answer call_answer(const std::string& name, const std::string& arguments) {
  Answer answer = text_answer("");
  std::get<Reply>(answer.outcome).tool_calls = {{"call_1", name, arguments}};
  return answer;
}

TEST(FindJson, FindsItInUglyReplies) {
  for (const char* text :
       {R"({"a": 1})", "  {\"a\": 1}\n", "Sure!\n```json\n{\"a\": 1}\n```\nDone.",
        "```\n{\"a\": 1}\n```", "It is {\"a\": 1}.",
        "```c++\nint x;\n```\nand\n```json\n{\"a\": 1}\n```", "```json\n{\"a\": 1}"}) {
    auto json = find_json(text);
    ASSERT_TRUE(json) << text;
    EXPECT_EQ(dump(*json), R"({"a":1})") << text;
  }
  for (const char* text : {"", "no", "{", "}{", "```", "```json\n", "{'a': 1}"})
    EXPECT_FALSE(find_json(text)) << text;
}

TEST(FindJson, SurvivesEndlessNesting) {
  EXPECT_FALSE(find_json(std::string(1'000'000, '[')));
  EXPECT_FALSE(find_json(std::string(200, '[') + std::string(200, ']')));
  EXPECT_TRUE(find_json("\"" + std::string(200, '[') + "\""));
}

TEST(CheckedClient, GivesTheValueOfAReplyThatFits) {
  FakeClient fake;
  fake.answers = {text_answer(R"(Here: {"tile": 8})")};
  Answer answer = CheckedClient(fake).ask(plan_request()).get();
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(dump(*answer.reply().value), R"({"tile":8})");
  EXPECT_EQ(fake.asked.size(), 1);
}

TEST(CheckedClient, AsksOnceMoreAndSaysWhatWasWrong) {
  FakeClient fake;
  fake.answers = {text_answer(R"({"tile": "big"})", 10), text_answer(R"({"tile": 8})", 7)};
  Answer answer = CheckedClient(fake).ask(plan_request()).get();
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(dump(*answer.reply().value), R"({"tile":8})");
  EXPECT_EQ(answer.spend, (Spend{2, 17, 17}));
  EXPECT_EQ(answer.attempts, 2);
  EXPECT_EQ(answer.reply().usage->total(), 17);
  ASSERT_EQ(fake.asked.size(), 2);
  const auto& again = fake.asked[1].messages;
  ASSERT_EQ(again.size(), 3);
  EXPECT_EQ(again[1].text, R"({"tile": "big"})");
  EXPECT_THAT(again[2].text, HasSubstr(R"(/tile: "big" is not of type "integer")"));
}

TEST(CheckedClient, GivesUpAfterTheSecondReplyAndKeepsIt) {
  FakeClient fake;
  fake.answers = {text_answer("no"), text_answer("still no")};
  Answer answer = CheckedClient(fake).ask(plan_request()).get();
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.failure().kind, FailureKind::kInvalidReply);
  EXPECT_EQ(answer.failure().reply_text, "still no");
  EXPECT_EQ(answer.spend.calls, 2);
  EXPECT_EQ(fake.asked.size(), 2);
}

TEST(CheckedClient, PassesAFailureOnWithTheCostOfWhatCameBefore) {
  FakeClient fake;
  Answer refused;
  refused.outcome = Failure{FailureKind::kBudget, "no more"};
  fake.answers = {text_answer("no"), refused};
  Answer answer = CheckedClient(fake).ask(plan_request()).get();
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.failure().kind, FailureKind::kBudget);
  EXPECT_EQ(answer.spend.calls, 1);
}

TEST(CheckedClient, ChecksTheArgumentsOfToolCalls) {
  FakeClient fake;
  fake.answers = {call_answer("apply", R"({"tile": )"), call_answer("apply", R"({"tile": 2})")};
  Answer answer = CheckedClient(fake).ask(tool_request()).get();
  ASSERT_TRUE(answer.ok());
  const auto& again = fake.asked[1].messages;
  ASSERT_EQ(again.size(), 3);
  EXPECT_EQ(again[1].tool_calls.size(), 1);
  EXPECT_EQ(again[2].role, Role::kTool);
  EXPECT_EQ(again[2].tool_call_id, "call_1");
  EXPECT_THAT(again[2].text, HasSubstr("the arguments of 'apply' are not JSON"));
  EXPECT_FALSE(check_request(fake.asked[1]));
}

TEST(CheckedClient, KnowsWhichToolsThereAreAndWhichIsNeeded) {
  Request request = tool_request();
  Reply reply;
  reply.tool_calls = {{"1", "delete", "{}"}};
  EXPECT_EQ(check_reply(request, reply), "there is no tool 'delete'\n");
  reply.tool_calls.clear();
  EXPECT_EQ(check_reply(request, reply), "");
  request.force_tool = "apply";
  EXPECT_EQ(check_reply(request, reply), "the tool 'apply' was not called\n");
}

TEST(CheckedClient, LetsOtherRequestsPass) {
  FakeClient fake;
  fake.answers = {text_answer("{ any text")};
  Request request = plan_request();
  request.schema.reset();
  EXPECT_TRUE(CheckedClient(fake).ask(request).get().ok());
}

}  // namespace
}  // namespace quern::llm
