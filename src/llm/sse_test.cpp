// SPDX-License-Identifier: Apache-2.0
#include "llm/sse.h"

#include <gtest/gtest.h>

#include <random>

namespace quern::llm {
namespace {

using Events = std::vector<SseEvent>;

Events parse(std::initializer_list<std::string_view> pieces) {
  SseParser parser;
  Events events;
  for (std::string_view piece : pieces) EXPECT_TRUE(parser.feed(piece, events));
  return events;
}

const std::string kStream =
    "\xEF\xBB\xBF: a comment\r\nevent: ping\r\ndata: {\"text\": \"größer 🙂 ≤\"}\r\n\r\n"
    "data:no space\ndata:  two spaces\nid: 7\nretry: 5\n\n"
    "event: without data\n\n"
    "data\n\n"
    "data: old mac\r\rdata: [DONE]\n\n"
    "data: cut before its end\n";

const Events kEvents = {{"ping", "{\"text\": \"größer 🙂 ≤\"}"},
                        {"", "no space\n two spaces"},
                        {"", ""},
                        {"", "old mac"},
                        {"", "[DONE]"}};

TEST(SseParser, ReadsEveryFormOfLine) { EXPECT_EQ(parse({kStream}), kEvents); }

TEST(SseParser, GivesTheSameEventsForEverySplitInThree) {
  std::string_view text = kStream;
  for (size_t first = 0; first <= text.size(); ++first)
    for (size_t second = first; second <= text.size(); ++second)
      ASSERT_EQ(
          parse({text.substr(0, first), text.substr(first, second - first), text.substr(second)}),
          kEvents)
          << first << " " << second;
}

TEST(SseParser, GivesTheSameEventsByteByByte) {
  SseParser parser;
  Events events;
  for (char c : kStream) ASSERT_TRUE(parser.feed({&c, 1}, events));
  EXPECT_EQ(events, kEvents);
}

TEST(SseParser, DoesNotDependOnHowRandomBytesAreCut) {
  const std::vector<std::string> words = {"data:", "event:", " ",  "\r", "\n",   "\n\n", "\r\n",
                                          ":",     "é",      "\0", "x",  "🙂", "id"};
  std::mt19937_64 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (size_t i = random() % 30; i > 0; --i) text += words[random() % words.size()];
    Events whole = parse({text});
    SseParser parser;
    Events cut;
    for (size_t at = 0; at < text.size();) {
      size_t length = 1 + random() % 4;
      ASSERT_TRUE(parser.feed(std::string_view(text).substr(at, length), cut));
      at += length;
    }
    ASSERT_EQ(cut, whole) << testing::PrintToString(text);
  }
}

TEST(SseParser, RefusesAnEventWithoutEnd) {
  SseParser parser(1000);
  Events events;
  std::string line = "data: " + std::string(300, 'x') + "\n";
  Result<void> fed;
  for (int i = 0; i < 4 && fed; ++i) fed = parser.feed(line, events);
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().kind, ErrorKind::kInput);
}

}  // namespace
}  // namespace quern::llm
