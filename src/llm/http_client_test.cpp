// SPDX-License-Identifier: Apache-2.0
#include "llm/http_client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/strings.h"
#include "llm/cassette.h"
#include "llm/mock_testing.h"
#include "llm/structured.h"

namespace quern::llm {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kText =
    "Größer als 3 ≤ 4 🙂, and then some words so that the reply takes many events; "
    "日本語も。";

/// One call to each protocol, over real HTTP.
class Http : public testing::TestWithParam<const char*> {
 protected:
  std::string model() const { return std::string(GetParam()) + "/m-1"; }
  Request request(const std::string& text = kText) const { return simple_request(model(), text); }
};
INSTANTIATE_TEST_SUITE_P(Protocols, Http, testing::Values("chat", "responses", "anthropic"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Http, StreamsAReplyWithItsUsageAndCost) {
  MockServer server;
  HttpClient client(server.options());
  std::string streamed;
  CallControl control;
  control.on_text = [&](int attempt, std::string_view text) {
    EXPECT_EQ(attempt, 1);
    streamed += text;
  };
  Answer answer = client.ask(request(), control).get();
  ASSERT_TRUE(answer.ok()) << answer.failure().message;
  EXPECT_EQ(answer.reply().text, kText);
  EXPECT_EQ(streamed, kText);
  EXPECT_EQ(answer.reply().finish, Finish::kStop);
  EXPECT_EQ(answer.reply().served_by, "m-1");
  EXPECT_EQ(answer.attempts, 1);
  EXPECT_FALSE(answer.doubtful_usage);
  Json truth = server.stats();
  const Usage& usage = *answer.reply().usage;
  EXPECT_EQ(usage.input, truth["input"]);
  EXPECT_EQ(usage.cache_read, truth["cache_read"]);
  EXPECT_EQ(usage.cache_write, truth["cache_write"]);
  EXPECT_EQ(usage.output, truth["output"]);
  EXPECT_GT(usage.cache_read, 0);
  EXPECT_EQ(answer.spend.tokens, truth["tokens"]);
  EXPECT_EQ(answer.spend.nano_usd, usage.input * 1000 + usage.cache_read * 250 +
                                       usage.cache_write * 1250 + usage.output * 4000);
}

TEST_P(Http, ReadsTextWhoseCharactersAreSplitAcrossPackets) {
  for (int bytes : {1, 2, 3, 7}) {
    MockServer server(fmt::format(R"([{{"do": "split", "bytes": {}}}])", bytes));
    HttpClient client(server.options());
    Answer answer = client.ask(request()).get();
    ASSERT_TRUE(answer.ok()) << answer.failure().message;
    EXPECT_EQ(answer.reply().text, kText);
    EXPECT_EQ(answer.attempts, 1);
  }
}

/// Faults that pass: the third attempt is let through.
struct Passing {
  const char* name;
  const char* rule;
  bool charged;  ///< the server may have billed the failed attempts
};
const Passing kPassing[] = {
    {"408", R"("do": "status", "status": 408)", false},
    {"409", R"("do": "status", "status": 409)", false},
    {"429", R"("do": "status", "status": 429, "retry_after": "0.05")", false},
    {"500", R"("do": "status", "status": 500)", false},
    {"502", R"("do": "status", "status": 502)", false},
    {"503", R"("do": "status", "status": 503)", false},
    {"504", R"("do": "status", "status": 504)", true},
    {"529", R"("do": "status", "status": 529)", false},
    {"cut in the headers", R"("do": "refuse")", true},
    {"cut at once", R"("do": "cut", "events": 0)", true},
    {"cut in the middle", R"("do": "cut", "events": 3)", true},
    {"cut before its end", R"("do": "no_done")", true},
    {"malformed", R"("do": "malformed", "event": 2)", true},
    {"error event", R"("do": "error_event", "events": 3)", true},
    {"no stream", R"("do": "garbage", "body": "<html>busy</html>")", true},
    {"silence before the headers", R"("do": "silence", "events": -1)", true},
    {"silence before the first byte", R"("do": "silence", "events": 0)", true},
    {"silence in the middle", R"("do": "silence", "events": 2)", true},
};

TEST_P(Http, GetsPastEveryFaultThatPasses) {
  std::vector<std::string> rules;
  for (const Passing& fault : kPassing)
    rules.push_back(
        fmt::format(R"({{"when": "<{}>", "attempts": [0, 1], {}}})", fault.name, fault.rule));
  MockServer server("[" + join(rules, ",") + "]");
  HttpClientOptions options = server.options();
  options.timeouts.first_byte_s = options.timeouts.idle_s = 0.5;
  HttpClient client(options);
  for (const Passing& fault : kPassing) {
    SCOPED_TRACE(fault.name);
    int64_t billed_before = server.stats()["tokens"];
    std::string text = fmt::format("<{}> {}", fault.name, kText);
    Answer answer = client.ask(request(text)).get();
    ASSERT_TRUE(answer.ok()) << answer.failure().message;
    EXPECT_EQ(answer.reply().text, text);
    EXPECT_EQ(answer.attempts, 3);
    EXPECT_EQ(answer.spend.calls, fault.charged ? 3 : 1);
    EXPECT_EQ(answer.doubtful_usage, fault.charged);
    EXPECT_LE(server.stats()["tokens"].get<int64_t>() - billed_before, answer.spend.tokens);
  }
}

TEST_P(Http, DoesNotTryAgainWhatTheServerRefuses) {
  constexpr int kStatuses[] = {400, 401, 403, 404, 413, 422, 307};
  std::vector<std::string> rules;
  for (int status : kStatuses)
    rules.push_back(fmt::format(
        R"({{"when": "<{0}>", "do": "status", "status": {0}, "message": "no way"}})", status));
  MockServer server("[" + join(rules, ",") + "]");
  HttpClient client(server.options());
  for (int status : kStatuses) {
    Answer answer = client.ask(request(fmt::format("<{}>", status))).get();
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.failure().kind, FailureKind::kRejected);
    EXPECT_EQ(answer.failure().status, status);
    EXPECT_EQ(answer.failure().message, fmt::format("HTTP {}: no way", status));
    EXPECT_EQ(answer.attempts, 1);
    EXPECT_EQ(answer.spend, Spend{});
  }
}

TEST_P(Http, DoesNotTryAgainAnErrorEventThatWillStay) {
  MockServer server(R"([{"do": "error_event", "type": "invalid_request_error"}])");
  HttpClient client(server.options());
  Answer answer = client.ask(request()).get();
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.failure().kind, FailureKind::kRejected);
  EXPECT_EQ(answer.attempts, 1);
}

TEST_P(Http, GivesUpAfterTheLastAttemptAndSaysWhy) {
  MockServer server(R"([{"do": "status", "status": 529, "message": "busy"}])");
  HttpClientOptions options = server.options();
  options.retry.attempts = 3;
  HttpClient client(options);
  Answer answer = client.ask(request()).get();
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.failure().kind, FailureKind::kOverloaded);
  EXPECT_EQ(answer.failure().message, model() + ": HTTP 529: busy (after 3 attempts)");
  EXPECT_EQ(server.stats()["requests"], 3);
}

TEST_P(Http, ChargesTheWorstCaseForUsageThatCannotBe) {
  for (const char* usage :
       {"null", R"({"output": -5})", R"({"output": 1000000})", R"({"input": 1000000})",
        R"({"output": "many"})", R"({"input": 0, "cache_read": 0, "cache_write": 0})"}) {
    SCOPED_TRACE(usage);
    MockServer server(fmt::format(R"([{{"do": "usage", "usage": {}}}])", usage));
    Budget budget({});
    HttpClient client(server.options(&budget));
    Answer answer = client.ask(request()).get();
    ASSERT_TRUE(answer.ok()) << answer.failure().message;
    EXPECT_TRUE(answer.doubtful_usage);
    EXPECT_EQ(budget.spent(), answer.spend);
    EXPECT_GT(answer.spend.tokens, 1000);
    EXPECT_LT(answer.spend.tokens, 10000);
  }
}

TEST_P(Http, WaitsOutASlowTrickle) {
  MockServer server(R"([{"do": "trickle", "bytes": 200, "seconds": 0.05}])");
  HttpClientOptions options = server.options();
  options.timeouts.idle_s = options.timeouts.first_byte_s = 5;
  HttpClient client(options);
  Answer answer = client.ask(request()).get();
  ASSERT_TRUE(answer.ok()) << answer.failure().message;
  EXPECT_EQ(answer.attempts, 1);
}

TEST_P(Http, EndsATrickleThatTakesTooLong) {
  MockServer server(R"([{"do": "trickle", "bytes": 1, "seconds": 0.05}])");
  HttpClientOptions options = server.options();
  options.timeouts.whole_s = 0.4;
  options.retry.attempts = 1;
  HttpClient client(options);
  Answer answer = client.ask(request()).get();
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.failure().kind, FailureKind::kTimeout);
  EXPECT_THAT(answer.failure().message, HasSubstr("not complete after 0.4 s"));
}

TEST_P(Http, CarriesToolCallsBothWays) {
  std::string script = temporary_path("script.json");
  ASSERT_TRUE(write_file_atomic(script, R"([
    {"last": "4096 bytes", "reply": "It has 4096."},
    {"reply": {"text": "Let me see.", "tool_calls": [
       {"name": "size", "arguments": {"path": "größe.txt", "deep": [1, {"a": null}]}},
       {"name": "size", "arguments": {"path": "b"}}]}}])"));
  MockServer server("", {"--mind", "script:" + script});
  HttpClient client(server.options());
  Request ask = request("How large?");
  ask.tools = {{"size", "Of a file.", *parse_json(R"({"type": "object"})")}};
  Answer answer = client.ask(ask).get();
  ASSERT_TRUE(answer.ok()) << answer.failure().message;
  const Reply& reply = answer.reply();
  EXPECT_EQ(reply.finish, Finish::kTools);
  EXPECT_EQ(reply.text, "Let me see.");
  ASSERT_EQ(reply.tool_calls.size(), 2);
  EXPECT_EQ(reply.tool_calls[0].name, "size");
  EXPECT_EQ(*parse_json(reply.tool_calls[0].arguments),
            *parse_json(R"({"path": "größe.txt", "deep": [1, {"a": null}]})"));
  EXPECT_NE(reply.tool_calls[0].id, reply.tool_calls[1].id);
  ask.messages.push_back({Role::kAssistant, reply.text, reply.tool_calls, ""});
  for (const ToolCall& call : reply.tool_calls)
    ask.messages.push_back({Role::kTool, "4096 bytes", {}, call.id});
  answer = client.ask(ask).get();
  ASSERT_TRUE(answer.ok()) << answer.failure().message;
  EXPECT_EQ(answer.reply().text, "It has 4096.");
}

TEST_P(Http, AsksOnceMoreForJsonThatFits) {
  std::string script = temporary_path("script.json");
  ASSERT_TRUE(write_file_atomic(script, R"([
    {"last": "is not of type", "reply": "{\"tile\": 8}"}, {"reply": "{\"tile\": \"big\"}"}])"));
  MockServer server("", {"--mind", "script:" + script});
  HttpClient http(server.options());
  CheckedClient client(http);
  Request ask = request("A tile?");
  ask.schema = *parse_json(
      R"({"type": "object", "properties": {"tile": {"type": "integer"}}, "required": ["tile"]})");
  Answer answer = client.ask(ask).get();
  ASSERT_TRUE(answer.ok()) << answer.failure().message;
  EXPECT_EQ(dump(*answer.reply().value), R"({"tile":8})");
  EXPECT_EQ(answer.spend.calls, 2);
}

TEST_P(Http, TellsAReplyThatWasCutByTheLimit) {
  MockServer server;
  HttpClient client(server.options());
  Request ask = request(std::string(1000, 'x'));
  ask.max_output_tokens = 10;
  Answer answer = client.ask(ask).get();
  ASSERT_TRUE(answer.ok()) << answer.failure().message;
  EXPECT_EQ(answer.reply().finish, Finish::kLength);
  EXPECT_EQ(answer.reply().text, std::string(40, 'x'));
  EXPECT_EQ(answer.reply().usage->output, 10);
}

TEST_P(Http, ReplaysARecordingWithoutAServer) {
  std::string path = temporary_path("cassette");
  std::vector<std::string> live, replayed;
  auto run = [&](Client& client, std::vector<std::string>& answers) {
    for (const char* text : {"one", "two", "cut", "bad", "one"})
      answers.push_back(dump(to_json(client.ask(request(text)).get())));
  };
  {
    MockServer server(R"([{"when": "cut", "attempts": [0], "do": "cut"},
                          {"when": "bad", "do": "status", "status": 400}])");
    HttpClient http(server.options());
    run(**Cassette::record(path, http), live);
  }
  run(**Cassette::replay(path), replayed);
  EXPECT_EQ(live, replayed);
  EXPECT_THAT(*read_file(path), Not(HasSubstr(MockServer::kKey)));
  EXPECT_THAT(*read_file(path), Not(HasSubstr("127.0.0.1")));
}

TEST_P(Http, HidesAKeyThatTheServerQuotes) {
  MockServer server(R"([{"do": "echo_key"}])");
  HttpClient client(server.options());
  Answer answer = client.ask(request()).get();
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.failure().message, "HTTP 401: Incorrect API key provided: (key).");
}

TEST_P(Http, RefusesWhatCannotBeAskedBeforeItIsSent) {
  MockServer server;
  HttpClientOptions options = server.options();
  HttpClient client(options);
  Request nonsense = request();
  nonsense.messages.clear();
  EXPECT_EQ(client.ask(nonsense).get().failure().kind, FailureKind::kSetup);
  nonsense = request();
  nonsense.model = "nobody/m";
  EXPECT_EQ(client.ask(nonsense).get().failure().kind, FailureKind::kSetup);
  options.prices = Prices();
  EXPECT_EQ(HttpClient(options).ask(request()).get().failure().kind, FailureKind::kPrice);
  options = server.options();
  options.environ = [](const std::string&) { return std::nullopt; };
  Failure failure = HttpClient(options).ask(request()).get().failure();
  EXPECT_EQ(failure.kind, FailureKind::kSetup);
  EXPECT_THAT(failure.message, HasSubstr("MOCK_KEY"));
  EXPECT_EQ(server.stats()["requests"], 0);
}

TEST(HttpClient, SaysThatThereIsNoServer) {
  HttpClientOptions options;
  {
    MockServer server;
    options = server.options();
  }
  options.retry.attempts = 3;
  HttpClient client(options);
  Answer answer = client.ask(simple_request("chat/m", "hi")).get();
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.failure().kind, FailureKind::kConnection);
  EXPECT_EQ(answer.attempts, 3);
  EXPECT_EQ(answer.spend, Spend{});
}

TEST(HttpClient, WaitsAsLongAsTheServerAsks) {
  MockServer server(R"([{"attempts": [0], "do": "status", "status": 429, "retry_after": 1}])");
  HttpClient client(server.options());
  auto begin = std::chrono::steady_clock::now();
  Answer answer = client.ask(simple_request("chat/m", "hi")).get();
  EXPECT_TRUE(answer.ok());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

TEST(HttpClient, ShowsWhatCameInsteadOfAStream) {
  MockServer server(
      R"([{"do": "garbage", "body": "{\"error\": {\"message\": \"try the sales team\"}}"}])");
  HttpClientOptions options = server.options();
  options.retry.attempts = 1;
  HttpClient client(options);
  Answer answer = client.ask(simple_request("chat/m", "hi")).get();
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.failure().kind, FailureKind::kMalformed);
  EXPECT_THAT(answer.failure().message, HasSubstr("no event stream: try the sales team"));
}

TEST(HttpClient, GivesUpWhenTheServerAsksForTooLong) {
  MockServer server(R"([{"do": "status", "status": 429, "retry_after": 86400}])");
  HttpClient client(server.options());
  Answer answer = client.ask(simple_request("chat/m", "hi")).get();
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.failure().hint, "the server asks to wait 86400 s");
  EXPECT_EQ(answer.attempts, 1);
}

TEST(HttpClient, ACallCanBeCancelledAtAnyMoment) {
  MockServer server(R"([{"when": "wait", "do": "silence", "events": 2},
                        {"when": "later", "do": "status", "status": 503, "retry_after": 500}])");
  HttpClient client(server.options());
  for (const char* text : {"wait", "later"}) {
    for (int delay_ms : {0, 100}) {
      std::stop_source stop;
      CallControl control;
      control.stop = stop.get_token();
      auto future = client.ask(simple_request("chat/m", text), control);
      std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
      stop.request_stop();
      Answer answer = future.get();
      ASSERT_FALSE(answer.ok());
      EXPECT_EQ(answer.failure().kind, FailureKind::kCancelled);
    }
  }
}

TEST(HttpClient, EndsInOrderWithCallsUnderWay) {
  MockServer server(R"([{"do": "silence", "events": 1}])");
  Budget budget({});
  std::vector<std::future<Answer>> answers;
  {
    HttpClient client(server.options(&budget));
    for (int i = 0; i < 20; ++i)
      answers.push_back(client.ask(simple_request("chat/m", std::to_string(i))));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  for (auto& future : answers) EXPECT_EQ(future.get().failure().kind, FailureKind::kCancelled);
  EXPECT_EQ(budget.reserved(), Spend{});
}

TEST(HttpClient, ACallMayStartAnotherFromItsAnswer) {
  MockServer server;
  HttpClient client(server.options());
  std::promise<Answer> second;
  client.start(simple_request("chat/m", "one"), {}, [&](const Answer&) {
    client.start(simple_request("anthropic/m", "two"), {},
                 [&](Answer answer) { second.set_value(std::move(answer)); });
  });
  EXPECT_EQ(second.get_future().get().reply().text, "two");
}

}  // namespace
}  // namespace quern::llm
