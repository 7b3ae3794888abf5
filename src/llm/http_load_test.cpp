// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <future>
#include <random>

#include "base/sanitized.h"
#include "base/strings.h"
#include "llm/http_client.h"
#include "llm/mock_testing.h"

namespace quern::llm {
namespace {

constexpr const char* kModels[] = {"chat/m", "responses/m", "anthropic/m"};

/// A line of /proc/self/status in KiB ("VmHWM"), or a count ("Threads").
int64_t of_this_process(const std::string& name) {
  for (const std::string& line : split(*read_file("/proc/self/status"), '\n'))
    if (line.starts_with(name + ":")) return std::stoll(split_words(line)[1]);
  return -1;
}

TEST(HttpLoad, TwoHundredFiftySixStreamsAtOnceLoseAndMixNothing) {
  MockServer server(R"([{"do": "gather", "count": 256}])");
  HttpClientOptions options = server.options();
  int64_t threads_before = of_this_process("Threads");
  HttpClient client(options);
  std::vector<std::string> texts;
  std::vector<std::future<Answer>> answers;
  for (int i = 0; i < 256; ++i) {
    texts.push_back(fmt::format("stream {} ", i));
    while (texts.back().size() < 2000) texts.back() += fmt::format("é{} ", i * 7919);
    answers.push_back(client.ask(simple_request(kModels[i % 3], texts.back())));
  }
  EXPECT_EQ(of_this_process("Threads"), threads_before + 1);
  for (size_t i = 0; i < 256; ++i) {
    Answer answer = answers[i].get();
    ASSERT_TRUE(answer.ok()) << answer.failure().message;
    EXPECT_EQ(answer.reply().text, texts[i]);
    EXPECT_EQ(answer.attempts, 1);
  }
  Json stats = server.stats();
  int64_t peak_kib = of_this_process("VmHWM");
  fmt::print("{} streams at once, peak memory of the process {:.1f} MB\n",
             stats["most_streams"].get<int>(), static_cast<double>(peak_kib) * 1024e-6);
  EXPECT_EQ(stats["most_streams"], 256);
#ifndef QUERN_SANITIZED
  EXPECT_LT(peak_kib * 1024, 64'000'000);
#endif
}

TEST(HttpLoad, AThousandCallsWithFaultsLoseAndMixNothing) {
  MockServer server(R"([
    {"chance": 0.1, "do": "status", "status": 429, "retry_after": "0.01"},
    {"chance": 0.1, "seed": 1, "do": "cut", "events": 3},
    {"chance": 0.1, "seed": 2, "do": "refuse"},
    {"chance": 0.1, "seed": 3, "do": "malformed"},
    {"chance": 0.1, "seed": 4, "do": "split", "bytes": 50},
    {"chance": 0.1, "seed": 5, "do": "error_event"}])");
  HttpClientOptions options = server.options();
  options.retry.attempts = 40;
  options.retry.longest_delay_s = 0.05;
  HttpClient client(options);
  std::vector<std::future<Answer>> answers;
  auto text = [](size_t i) {
    return fmt::format("call {} ", i) + " ü🙂 " + std::string(i % 300, 'x');
  };
  for (size_t i = 0; i < 1000; ++i)
    answers.push_back(client.ask(simple_request(kModels[i % 3], text(i))));
  for (size_t i = 0; i < 1000; ++i) {
    Answer answer = answers[i].get();
    ASSERT_TRUE(answer.ok()) << answer.failure().message;
    ASSERT_EQ(answer.reply().text, text(i));
  }
  fmt::print("faults: {}\n", dump(server.stats()["faults"]));
}

TEST(HttpLoad, WhatTheServerBilledNeverExceedsTheBudgetOver200RunsWithFaults) {
  MockServer server(R"([
    {"chance": 0.1, "do": "status", "status": 529},
    {"chance": 0.1, "seed": 1, "do": "cut", "events": 2},
    {"chance": 0.05, "seed": 2, "do": "refuse"},
    {"chance": 0.1, "seed": 3, "do": "usage", "usage": {"output": 1000000}},
    {"chance": 0.1, "seed": 4, "do": "usage", "usage": null},
    {"chance": 0.1, "seed": 5, "do": "error_event"}])");
  std::mt19937_64 random(11);
  int64_t billed_before = 0, refused = 0, answered = 0;
  for (int run = 0; run < 200; ++run) {
    BudgetLimits limits{.tokens = static_cast<int64_t>(random() % 30000)};
    Budget budget(limits);
    HttpClientOptions options = server.options(&budget);
    options.retry.attempts = 4;
    options.retry.first_delay_s = 0.001;
    HttpClient client(options);
    std::vector<std::future<Answer>> answers;
    for (int i = 0; i < 12; ++i) {
      Request request = simple_request(kModels[i % 3], fmt::format("run {} call {}", run, i));
      request.max_output_tokens = 200;
      answers.push_back(client.ask(request));
    }
    for (auto& future : answers) {
      Answer answer = future.get();
      answered += answer.ok();
      refused += !answer.ok() && answer.failure().kind == FailureKind::kBudget;
    }
    int64_t billed = server.stats()["tokens"].get<int64_t>();
    ASSERT_LE(budget.spent().tokens, *limits.tokens);
    ASSERT_LE(billed - billed_before, budget.spent().tokens);
    ASSERT_EQ(budget.reserved(), Spend{});
    billed_before = billed;
  }
  fmt::print("200 runs: {} answers, {} refusals, {} tokens billed\n", answered, refused,
             billed_before);
  EXPECT_GT(answered, 200);
  EXPECT_GT(refused, 200);
}

}  // namespace
}  // namespace quern::llm
