// SPDX-License-Identifier: Apache-2.0
#include "llm/prices.h"

#include <gtest/gtest.h>

#include <cmath>

namespace quern::llm {
namespace {

constexpr const char* kTable = R"({"models": {
  "openai/a": {"input": 1.25, "cache_read": 0.125, "output": 10},
  "openai/a-small*": {"input": 0.075, "output": 0.3},
  "openai/*": {"input": 5, "output": 20},
  "lab/*": {"input": 0, "output": 0}}})";

Price price_of(const std::string& model) {
  auto prices = Prices::parse(kTable);
  EXPECT_TRUE(prices);
  auto price = prices->find(model);
  EXPECT_TRUE(price) << model;
  return *price;
}

TEST(Prices, FindsTheNameThatFitsBest) {
  EXPECT_EQ(price_of("openai/a").output, 10);
  EXPECT_EQ(price_of("openai/a-small-2").output, 0.3);
  EXPECT_EQ(price_of("openai/b").output, 20);
  EXPECT_EQ(price_of("lab/any/thing").output, 0);
}

TEST(Prices, TakesThePriceOfInputForCachesWithoutOne) {
  EXPECT_EQ(price_of("openai/a").cache_read, 0.125);
  EXPECT_EQ(price_of("openai/a").cache_write, 1.25);
  EXPECT_EQ(price_of("openai/b").cache_read, 5);
}

TEST(Prices, SaysHowToGiveAnUnknownPrice) {
  auto price = Prices::parse(kTable)->find("anthropic/c");
  ASSERT_FALSE(price);
  EXPECT_NE(price.error().message.find("'anthropic/c'"), std::string::npos);
  EXPECT_NE(price.error().hint.find(R"({"models": {"anthropic/c": {"input": …)"),
            std::string::npos);
}

TEST(Prices, RefusesATableThatMakesNoSense) {
  for (const char* text : {"", "[]", "{}", R"({"models": []})", R"({"models": {"a/b": 3}})",
                           R"({"models": {"a/b": {"input": 1}}})",
                           R"({"models": {"a/b": {"input": -1, "output": 1}}})",
                           R"({"models": {"a/b": {"input": "1", "output": 1}}})",
                           R"({"models": {"a/b": {"input": 1e300, "output": 1}}})"})
    EXPECT_FALSE(Prices::parse(text)) << text;
  auto typo = Prices::parse(R"({"models": {"a/b": {"input": 1, "output": 1, "cache_raed": 1}}})");
  ASSERT_FALSE(typo);
  EXPECT_NE(typo.error().hint.find("cache_read"), std::string::npos);
}

TEST(Prices, SnapshotParsesBackToItself) {
  Json snapshot = Prices::parse(kTable)->snapshot();
  auto again = Prices::parse(dump(snapshot));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->snapshot(), snapshot);
}

TEST(Prices, OlderPricesStandAndNewModelsAreAdded) {
  Prices prices = *Prices::parse(R"({"models": {"a/b": {"input": 9, "output": 9},
                                                "new/m": {"input": 2, "output": 2}}})");
  prices.keep(*Prices::parse(R"({"models": {"a/b": {"input": 1, "output": 1}}})"));
  EXPECT_EQ(prices.find("a/b")->input, 1);
  EXPECT_EQ(prices.find("new/m")->input, 2);
}

TEST(Prices, CostsEachKindOfTokenAtItsPrice) {
  Price price{.input = 1, .cache_read = 0.25, .cache_write = 1.25, .output = 4};
  Usage usage{.input = 1000, .cache_read = 2000, .cache_write = 400, .output = 10, .reasoning = 5};
  EXPECT_EQ(cost_nano_usd(price, usage), (1000 + 500 + 500 + 40) * 1000);
}

TEST(Prices, RoundsFractionsOfTheUnitUp) {
  EXPECT_EQ(cost_nano_usd({.input = 0.0001}, {.input = 1}), 1);
  EXPECT_EQ(cost_nano_usd({.input = 0.0001}, {.input = 10}), 1);
  EXPECT_EQ(cost_nano_usd({.input = 0.0001}, {.input = 11}), 2);
  EXPECT_EQ(cost_nano_usd({.input = 0.3}, {.input = 3}), 900);
  EXPECT_EQ(cost_nano_usd({}, {.input = 1000}), 0);
}

TEST(Prices, TakesALimitInDollars) {
  EXPECT_EQ(nano_usd(0.3), 300'000'000);
  EXPECT_EQ(nano_usd(-1), 0);
  EXPECT_EQ(nano_usd(1e300), 1'000'000'000'000'000'000);
  EXPECT_EQ(nano_usd(std::nan("")), 0);
}

TEST(Prices, NothingCostsMoreThanTheWorstCase) {
  Price price{.input = 1, .cache_read = 0.1, .cache_write = 1.25, .output = 4};
  int64_t worst = worst_cost_nano_usd(price, 100, 50);
  for (int64_t read = 0; read <= 100; read += 10)
    for (int64_t write = 0; read + write <= 100; write += 10)
      EXPECT_LE(cost_nano_usd(price, {.input = 100 - read - write,
                                      .cache_read = read,
                                      .cache_write = write,
                                      .output = 50}),
                worst);
}

}  // namespace
}  // namespace quern::llm
