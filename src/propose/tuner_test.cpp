// SPDX-License-Identifier: Apache-2.0
#include "propose/tuner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

const char* const kText = "// tune: A = 3 1 2\nint a = A;\n// tune: B = 10, 20\n";

Attempt timed(const Candidate& candidate, double ns) {
  Attempt attempt;
  attempt.candidate = candidate;
  Passed passed;
  passed.timing.median_ns = ns;
  attempt.evaluation.verdict = passed;
  return attempt;
}

TEST(KernelTemplate, PutsAValueAfterEachTuneLine) {
  const KernelTemplate kernel = *parse_template(kText);
  ASSERT_EQ(kernel.parameters.size(), 2u);
  EXPECT_THAT(kernel.parameters[1].values, ElementsAre(10, 20));
  EXPECT_EQ(kernel.instance({1, 1}),
            "// tune: A = 3 1 2\n#define A 1\nint a = A;\n// tune: B = 10, 20\n#define B 20\n");
  EXPECT_EQ(kernel.describe({0, 1}), "A=3 B=20");
}

TEST(KernelTemplate, AnInstanceParsesBackToItsTemplate) {
  const KernelTemplate kernel = *parse_template(kText);
  const KernelTemplate again = *parse_template(kernel.instance({2, 1}));
  EXPECT_EQ(again.text, kernel.text);
  EXPECT_EQ(again.instance({0, 0}), kernel.instance({0, 0}));
  EXPECT_TRUE(has_tune_lines(kText));
  EXPECT_FALSE(has_tune_lines("int tune;\n"));
}

TEST(KernelTemplate, BadLinesAreErrorsThatSayWhy) {
  EXPECT_THAT(parse_template("// tune: A\n").error().message, HasSubstr("no `=`"));
  EXPECT_THAT(parse_template("// tune: 2 = 1\n").error().message, HasSubstr("no name"));
  EXPECT_THAT(parse_template("// tune: A = x\n").error().message, HasSubstr("whole numbers"));
  EXPECT_THAT(parse_template("// tune: A =\n").error().message, HasSubstr("no values"));
  EXPECT_THAT(parse_template("// tune: A = 1\n// tune: A = 2\n").error().message,
              HasSubstr("twice"));
}

TEST(NumericSearch, UnknownNamesGetASuggestion) {
  EXPECT_THAT(find_numeric_search("hillclimb").error().hint, HasSubstr("hill-climb"));
}

TEST(Tuner, BeginsWithTheAuthorsValuesAndTriesEveryPointOnce) {
  for (const NumericSearchInfo& row : numeric_searches()) {
    Tuner tuner(*parse_template(kText), row, "mine", 5);
    std::set<std::string> seen;
    std::string first;
    for (int round = 0; round < 20; ++round) {
      const auto made = tuner.next(1);
      if (made->empty()) break;
      if (first.empty()) first = made->front().candidate.note;
      EXPECT_TRUE(seen.insert(made->front().candidate.note).second) << row.name;
      tuner.tell(timed(made->front().candidate, 100));
    }
    EXPECT_EQ(first, "A=3 B=10") << row.name;
    EXPECT_EQ(seen.size(), 6u) << row.name;
  }
}

/// A bowl with its floor at the ninth value of each of three parameters.
double bowl(const std::vector<size_t>& point) {
  double time = 100;
  for (size_t at : point) time += 10 * std::abs(static_cast<double>(at) - 8);
  return time;
}

/// Mean time of the best of so many points over some seeds.
double mean_best(const NumericSearchInfo& row, int points) {
  double sum = 0;
  constexpr int kSeeds = 20;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const auto search = row.make();
    Random random(seed);
    double best = 1e9;
    for (int i = 0; i < points; ++i) {
      const std::vector<size_t> point = search->next({12, 12, 12}, random);
      search->told(point, bowl(point));
      best = std::min(best, bowl(point));
    }
    sum += best / kSeeds;
  }
  return sum;
}

TEST(NumericSearch, EveryOneThatLearnsBeatsChanceOnABowl) {
  const double chance = mean_best(**find_numeric_search("random"), 60);
  for (const char* name : {"hill-climb", "annealing"}) {
    EXPECT_LT(mean_best(**find_numeric_search(name), 60), chance) << name;
  }
}

TEST(Tuner, AFailedPointIsNoGround) {
  Tuner tuner(*parse_template(kText), numeric_searches().front(), "mine", 5);
  const auto made = *tuner.next(1);
  Attempt attempt;
  attempt.candidate = made.front().candidate;
  attempt.evaluation.verdict = WrongResult{"no", ""};
  tuner.tell(attempt);
  EXPECT_THAT(tuner.next(1)->front().candidate.source,
              Not(HasSubstr("#define A 3\nint a = A;\n// tune: B = 10, 20\n#define B 10")));
}

}  // namespace
}  // namespace quern
