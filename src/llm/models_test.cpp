// SPDX-License-Identifier: Apache-2.0
#include "llm/models.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <random>

#include "llm/mock_testing.h"

namespace quern::llm {
namespace {

constexpr const char* kModels[] = {"chat/m", "responses/m", "anthropic/m"};

Request call(int i) {
  Request request = simple_request(kModels[i % 3], fmt::format("call {}", i / 2));
  request.max_output_tokens = 100;
  return request;
}

/// Eight calls at a time, as a search makes them; what was said, a line a call.
std::string run(Models& models, int calls) {
  std::string said;
  for (int i = 0; i < calls; i += 8) {
    std::vector<std::future<Answer>> answers;
    for (int j = i; j < std::min(calls, i + 8); ++j)
      answers.push_back(models.client().ask(call(j)));
    for (auto& answer : answers) said += dump(to_json(answer.get())) + "\n";
  }
  return said;
}

TEST(Models, AReplayedRunIsToldTheSameAndCostsTheSame) {
  std::string directory = temporary_path("run"), live;
  Spend spent;
  {
    MockServer server(
        R"([{"chance": 0.2, "do": "cut"}, {"chance": 0.2, "do": "status", "status": 503}])");
    auto models = Models::open(directory, {}, server.options());
    ASSERT_TRUE(models) << models.error().message;
    live = run(**models, 40);
    spent = (*models)->budget().spent();
  }
  auto models = Models::replay(directory);
  ASSERT_TRUE(models);
  EXPECT_EQ(run(**models, 40), live);
  EXPECT_EQ((*models)->budget().spent(), spent);
}

TEST(Models, AResumedRunPaysForNothingTwice) {
  std::string directory = temporary_path("run");
  MockServer server;
  std::string first = run(**Models::open(directory, {}, server.options()), 16);
  auto models = Models::open(directory, {}, server.options());
  Spend before = (*models)->budget().spent();
  EXPECT_EQ(run(**models, 16), first);
  EXPECT_EQ((*models)->budget().spent(), before);
  EXPECT_EQ(server.stats()["requests"], 16);
  run(**models, 24);
  EXPECT_EQ(server.stats()["requests"], 40);
}

TEST(Models, AResumedRunKeepsThePricesItBeganWith) {
  std::string directory = temporary_path("run");
  MockServer server;
  HttpClientOptions options = server.options();
  std::string snapshot = dump(options.prices.snapshot());
  ASSERT_TRUE(Models::open(directory, {}, options));
  options.prices = *Prices::parse(R"({"models": {"*": {"input": 9, "output": 9}}})");
  ASSERT_TRUE(Models::open(directory, {}, options));
  EXPECT_EQ(dump(Prices::parse(*read_file(directory + "/prices.json"))->snapshot()), snapshot);
}

TEST(Models, WritesNoKeyAnywhere) {
  std::string directory = temporary_path("run");
  MockServer server(R"([{"when": "call 1", "do": "echo_key"}])");
  run(**Models::open(directory, {}, server.options()), 8);
  for (const char* file : {"/budget.jsonl", "/prices.json", "/exchanges.jsonl"}) {
    std::string text = *read_file(directory + file);
    EXPECT_THAT(text, testing::Not(testing::HasSubstr(MockServer::kKey)));
    EXPECT_THAT(text, testing::Not(testing::HasSubstr("sk-mock-")));
  }
}

TEST(Models, WhatTheServerBilledNeverExceedsTheBudgetOverKillsAndResumes) {
  constexpr int64_t kLimit = 200'000;
  MockServer server(R"([{"chance": 0.15, "do": "status", "status": 529},
                        {"chance": 0.1, "seed": 1, "do": "cut"},
                        {"chance": 0.2, "seed": 2, "do": "trickle", "bytes": 100, "seconds": 0.002}])");
  std::string directory = temporary_path("run");
  std::mt19937_64 random(5);
  int lives = 0;
  for (; lives < 40; ++lives) {
    pid_t child = ::fork();
    if (child == 0) {
      auto models = Models::open(directory, {.tokens = kLimit}, server.options());
      if (models) run(**models, 400);
      ::_exit(models ? 0 : 1);
    }
    int64_t until = server.stats()["requests"].get<int64_t>() + static_cast<int64_t>(random() % 30);
    int status = 0;
    while (::waitpid(child, &status, WNOHANG) == 0)
      if (server.stats()["requests"] >= until) ::kill(child, SIGKILL);
    ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    auto budget = Budget::open(directory + "/budget.jsonl", {.tokens = kLimit});
    ASSERT_TRUE(budget) << budget.error().message;
    ASSERT_LE((*budget)->spent().tokens, kLimit);
    ASSERT_LE(server.stats()["tokens"].get<int64_t>(), (*budget)->spent().tokens);
    if (WIFEXITED(status)) break;
  }
  fmt::print("{} lives, {} tokens billed, {} counted, limit {}\n", lives + 1,
             server.stats()["tokens"].get<int64_t>(),
             (*Budget::open(directory + "/budget.jsonl", {}))->spent().tokens, kLimit);
  EXPECT_GT(server.stats()["billed"], 20);
}

}  // namespace
}  // namespace quern::llm
