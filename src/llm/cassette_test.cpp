// SPDX-License-Identifier: Apache-2.0
#include "llm/cassette.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "llm/fake_testing.h"
#include "llm/mock_testing.h"

namespace quern::llm {
namespace {

using testing::HasSubstr;

Request say(const std::string& text) { return simple_request("chat/m", text); }
std::string exact(const Answer& answer) { return dump(to_json(answer)); }

Answer failure_answer(FailureKind kind) {
  Answer answer;
  answer.outcome = Failure{kind, "why", "hint", 429, "text"};
  answer.spend = {2, 3, 4};
  answer.attempts = 2;
  answer.doubtful_usage = true;
  return answer;
}

Answer rich_answer() {
  Answer answer = text_answer("grüße 🙂\n\x01", 1'000'000'007);
  Reply& reply = std::get<Reply>(answer.outcome);
  reply.tool_calls = {{"1", "apply", R"({"a": [1.5, null]})"}, {"2", "b", "{broken"}};
  reply.finish = Finish::kTools;
  reply.served_by = "m-2";
  reply.value = *parse_json(R"({"z": 1, "a": 0.1})");
  return answer;
}

/// Records `answers` to requests "a", one after the other, and gives the file's name.
std::string recorded(std::deque<Answer> answers) {
  std::string path = temporary_path("cassette");
  FakeClient fake;
  fake.answers = std::move(answers);
  auto cassette = Cassette::record(path, fake);
  EXPECT_TRUE(cassette);
  for (size_t i = fake.answers.size(); i > 0; --i) (*cassette)->ask(say("a")).get();
  return path;
}

TEST(Cassette, ReplaysWhatItRecordedBitForBit) {
  std::deque<Answer> answers = {rich_answer(), failure_answer(FailureKind::kOverloaded),
                                text_answer("third")};
  auto cassette = Cassette::replay(recorded(answers));
  ASSERT_TRUE(cassette) << cassette.error().message;
  for (const Answer& answer : answers)
    EXPECT_EQ(exact((*cassette)->ask(say("a")).get()), exact(answer));
}

TEST(Cassette, TellsEqualRequestsApartByTheirOrder) {
  std::string path = temporary_path("cassette");
  FakeClient fake;
  fake.answers = {text_answer("a1"), text_answer("b1"), text_answer("a2")};
  auto recording = *Cassette::record(path, fake);
  for (const char* text : {"a", "b", "a"}) recording->ask(say(text)).get();
  auto cassette = *Cassette::replay(path);
  EXPECT_EQ(cassette->ask(say("b")).get().reply().text, "b1");
  EXPECT_EQ(cassette->ask(say("a")).get().reply().text, "a1");
  EXPECT_EQ(cassette->ask(say("a")).get().reply().text, "a2");
}

TEST(Cassette, SaysClearlyWhatItDoesNotHave) {
  auto cassette = *Cassette::replay(recorded({text_answer("one")}));
  cassette->ask(say("a")).get();
  for (const char* text : {"a", "other"}) {
    Answer answer = cassette->ask(say(text)).get();
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.failure().kind, FailureKind::kNotRecorded);
    EXPECT_THAT(answer.failure().message, HasSubstr("has no reply of chat/m"));
  }
}

TEST(Cassette, ChargesABudgetWhatTheReplyHadCost) {
  Budget budget({});
  auto cassette = *Cassette::replay(
      recorded({text_answer("one", 30), failure_answer(FailureKind::kCut)}), &budget);
  cassette->ask(say("a")).get();
  cassette->ask(say("a")).get();
  EXPECT_EQ(budget.spent(), (Spend{3, 33, 34}));
}

TEST(Cassette, GoesOnWhereAnInterruptedRecordingEnded) {
  std::string path = recorded({text_answer("one"), text_answer("two")});
  std::string text = *read_file(path);
  ASSERT_TRUE(write_file_atomic(path, text.substr(0, text.size() - 10)));  // killed while writing
  FakeClient fake;
  fake.answers = {text_answer("two again"), text_answer("three")};
  {
    auto cassette = Cassette::resume(path, fake);
    ASSERT_TRUE(cassette) << cassette.error().message;
    for (const char* expected : {"one", "two again", "three"})
      EXPECT_EQ((*cassette)->ask(say("a")).get().reply().text, expected);
    EXPECT_EQ(fake.asked.size(), 2);
  }
  auto cassette = *Cassette::replay(path);
  for (const char* expected : {"one", "two again", "three"})
    EXPECT_EQ(cassette->ask(say("a")).get().reply().text, expected);
}

TEST(Cassette, AsksAnewOnResumeWhatEndedInARefusal) {
  std::string path = recorded({text_answer("one"), failure_answer(FailureKind::kBudget),
                               failure_answer(FailureKind::kCancelled)});
  FakeClient fake;
  auto cassette = *Cassette::resume(path, fake);
  EXPECT_EQ(cassette->ask(say("a")).get().reply().text, "one");
  EXPECT_TRUE(cassette->ask(say("a")).get().ok());
  EXPECT_EQ(fake.asked.size(), 1);
}

TEST(Cassette, DoesNotWriteOverARecording) {
  std::string path = recorded({text_answer("one")});
  FakeClient fake;
  EXPECT_FALSE(Cassette::record(path, fake));
}

TEST(Cassette, RefusesADamagedFile) {
  std::string path = recorded({text_answer("one"), text_answer("two")});
  std::string text = *read_file(path);
  for (const char* damage : {"{}", "x", R"({"hash": 1, "nth": 0, "answer": {}})",
                             R"({"hash": "a", "nth": 0, "answer": {}})",
                             R"({"hash": "a", "nth": 0, "answer": {"reply": 3}})"}) {
    ASSERT_TRUE(write_file_atomic(path, text + damage + "\n"));
    auto cassette = Cassette::replay(path);
    ASSERT_FALSE(cassette) << damage;
    EXPECT_THAT(cassette.error().message, HasSubstr("exchange 3"));
  }
  EXPECT_FALSE(Cassette::replay(path + ".none"));
}

TEST(RequestHash, DependsOnEverythingAskedAndOnNothingElse) {
  Request request = say("a");
  std::set<std::string> hashes = {request_hash(request)};
  auto differs = [&](auto change) {
    Request other = request;
    change(other);
    EXPECT_TRUE(hashes.insert(request_hash(other)).second);
  };
  differs([](Request& r) { r.model = "chat/n"; });
  differs([](Request& r) { r.system = "s"; });
  differs([](Request& r) { r.task = "s"; });
  differs([](Request& r) { r.messages[0].text = "b"; });
  differs([](Request& r) { r.messages[0].role = Role::kAssistant; });
  differs([](Request& r) { r.messages[0].tool_calls = {{"1", "f", "{}"}}; });
  differs([](Request& r) { r.messages.push_back(r.messages[0]); });
  differs([](Request& r) { r.tools = {{"f", "d", Json::object()}}; });
  differs([](Request& r) { r.schema = Json::object(); });
  differs([](Request& r) { r.max_output_tokens = 1; });
  differs([](Request& r) { r.temperature = 0; });
  differs([](Request& r) { r.top_p = 0; });
  differs([](Request& r) { r.seed = 0; });
  differs([](Request& r) { r.effort = "low"; });
  differs([](Request& r) { r.stop = {"x"}; });
  differs([](Request& r) { r.sample = 1; });
  request.schema = *parse_json(R"({"type": "object", "title": "t"})");
  Request same = request;
  same.schema = *parse_json(R"({"title": "t", "type": "object"})");
  EXPECT_EQ(request_hash(request), request_hash(same));
}

TEST(RequestHash, IsTheSameForever) {
  EXPECT_EQ(request_hash(say("a")),
            "84a995b17d8e83de37983ba2c07568651de2b9a36b50141103c9361732dc8697");
}

}  // namespace
}  // namespace quern::llm
