// SPDX-License-Identifier: Apache-2.0
#include "llm/agent_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/file.h"
#include "llm/agent.h"
#include "llm/fake_testing.h"
#include "llm/mock_testing.h"

namespace quern::llm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

AgentClientOptions options() {
  AgentClientOptions made;
  made.directory = temporary_path("agents");
  made.search_path = {"/usr/bin", "/bin"};
  made.env = {"PATH=/usr/bin:/bin"};
  return made;
}

Request ask_for(const std::string& script) {
  Request request = simple_request("agent:sh -c '" + script + "'", "Write a kernel.");
  request.task = "The task.";
  return request;
}

TEST(CommandWords, AreSplitAsAShellWould) {
  EXPECT_THAT(*command_words("my-agent run  --cd {directory}\t-"),
              ElementsAre("my-agent", "run", "--cd", "{directory}", "-"));
  EXPECT_THAT(*command_words(R"(sh -c 'a "b"  c' "d 'e'" f\ g "" x"y"z)"),
              ElementsAre("sh", "-c", "a \"b\"  c", "d 'e'", "f g", "", "xyz"));
  EXPECT_THAT(*command_words(""), ElementsAre());
  EXPECT_FALSE(command_words("sh -c 'open"));
}

TEST(AgentClient, RepliesWithTheFileThatTheAgentLeft) {
  AgentClient client(options());
  const Answer answer =
      client.ask(ask_for("grep -c kernel PROMPT.md > kernel.cpp; echo done; exit 3")).get();
  ASSERT_TRUE(answer.ok()) << answer.failure().message;
  EXPECT_EQ(answer.reply().text, "```cpp\n1\n```\n");
  EXPECT_EQ(answer.spend, (Spend{1, 0, 0}));
}

TEST(AgentClient, RepliesWithWhatWasPrintedWhereNoFileWasWritten) {
  AgentClientOptions given = options();
  given.files = {{"kernel.cpp", "as it was\n"}, {"run", "#!/bin/sh\necho advice $1\n"}};
  AgentClient client(given);
  EXPECT_EQ(client.ask(ask_for("./run 7")).get().reply().text, "advice 7\n");
  EXPECT_EQ(client.ask(ask_for("echo more >> kernel.cpp")).get().reply().text,
            "```cpp\nas it was\nmore\n```\n");
}

TEST(AgentClient, SaysWhyThereIsNothing) {
  AgentClientOptions given = options();
  given.deadline_s = 0.2;
  AgentClient client(given);
  const Answer slow = client.ask(ask_for("sleep 100")).get();
  ASSERT_FALSE(slow.ok());
  EXPECT_EQ(slow.failure().kind, FailureKind::kTimeout);
  const Answer failed = client.ask(ask_for("echo no key >&2; exit 7")).get();
  ASSERT_FALSE(failed.ok());
  EXPECT_THAT(failed.failure().message, HasSubstr("exit code 7: no key"));
  const Answer missing = client.ask(simple_request("agent:no-such-agent", "x")).get();
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.failure().kind, FailureKind::kSetup);
}

TEST(AgentClient, FallsBackOnWhatItStoodByWhenTimeRunsOut) {
  AgentClientOptions given = options();
  given.deadline_s = 0.3;
  AgentClient client(given);
  const std::string both = "echo good > passed.cpp; echo half > kernel.cpp; ";
  EXPECT_EQ(client.ask(ask_for(both + "sleep 100")).get().reply().text, "```cpp\ngood\n```\n");
  EXPECT_EQ(client.ask(ask_for(both)).get().reply().text, "```cpp\nhalf\n```\n");
  EXPECT_EQ(client.ask(ask_for("echo good > passed.cpp")).get().reply().text,
            "```cpp\ngood\n```\n");
}

TEST(AgentClient, WorksSideBySideInFoldersOfTheirOwn) {
  AgentClient client(options());
  std::vector<std::future<Answer>> answers;
  for (int i = 0; i < 8; ++i)
    answers.push_back(client.ask(ask_for("pwd > kernel.cpp; sleep 0.05")));
  std::set<std::string> folders;
  for (auto& answer : answers) folders.insert(answer.get().reply().text);
  EXPECT_EQ(folders.size(), 8u);
}

TEST(AgentClient, WritesOnlyWhereItMay) {
  if (landlock_abi() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  AgentClientOptions given = options();
  const std::string outside = temporary_path("outside"), allowed = temporary_path("allowed");
  ASSERT_TRUE(make_directories(outside));
  ASSERT_TRUE(make_directories(allowed));
  given.writable = {allowed};
  AgentClient client(given);
  const Answer answer = client
                            .ask(ask_for("echo x > " + outside + "/x; echo y > " + allowed +
                                         "/y; echo t > $TMPDIR/t && echo k > kernel.cpp"))
                            .get();
  ASSERT_TRUE(answer.ok()) << answer.failure().message;
  EXPECT_EQ(answer.reply().text, "```cpp\nk\n```\n");
  EXPECT_FALSE(file_exists(outside + "/x"));
  EXPECT_TRUE(file_exists(allowed + "/y"));
}

TEST(AgentClient, ReachesServersOverTcp) {
  MockServer server;
  AgentClient client(options());
  const Answer answer =
      client
          .ask(simple_request("agent:bash -c 'exec 3<>/dev/tcp/127.0.0.1/" +
                                  std::to_string(server.port()) + " && echo connected'",
                              "x"))
          .get();
  ASSERT_TRUE(answer.ok()) << answer.failure().message;
  EXPECT_EQ(answer.reply().text, "connected\n");
}

TEST(AgentClient, CountsCallsInTheBudget) {
  BudgetLimits limits;
  limits.calls = 2;
  Budget budget(limits);
  AgentClientOptions given = options();
  given.budget = &budget;
  AgentClient client(given);
  EXPECT_TRUE(client.ask(ask_for("echo a")).get().ok());
  EXPECT_TRUE(client.ask(ask_for("echo b")).get().ok());
  const Answer third = client.ask(ask_for("echo c")).get();
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.failure().kind, FailureKind::kBudget);
  EXPECT_EQ(budget.spent().calls, 2);
  EXPECT_EQ(budget.refused(), 1);
}

TEST(RoutingClient, AsksAgentsAndModelsByName) {
  FakeClient agents, models;
  RoutingClient client(agents, models);
  client.ask(simple_request("agent:x", "a")).get();
  client.ask(simple_request("lab/m", "b")).get();
  EXPECT_EQ(agents.asked.size(), 1u);
  EXPECT_EQ(models.asked.size(), 1u);
}

}  // namespace
}  // namespace quern::llm
