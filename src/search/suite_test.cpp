// SPDX-License-Identifier: Apache-2.0
#include "search/suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern {
namespace {

using testing::HasSubstr;
using testing::Not;

SuiteSample sample(double speedup) {
  SuiteSample made;
  made.state = speedup > 0 ? "passed" : "wrong_result";
  made.reason = speedup > 0 ? "" : "y[3] is off";
  made.speedup = speedup;
  made.low = 0.9 * speedup;
  made.high = 1.1 * speedup;
  made.baseline = "naive";
  return made;
}

SuiteRow row(const std::string& name, const std::vector<double>& speedups) {
  SuiteRow made;
  made.task.name = name;
  for (double speedup : speedups) made.samples.push_back(sample(speedup));
  return made;
}

double figure(const SuiteScore& score, const std::string& name) {
  for (const SuiteFigure& figure : score.figures) {
    if (figure.name == name) return figure.value.value;
  }
  ADD_FAILURE() << name;
  return -1;
}

/// Two samples each: one task with both right, one with one, one with none.
SuiteResult three_tasks() {
  SuiteResult result;
  result.suite = "three";
  result.recipe = "rules";
  result.threads = 2;
  result.rows = {row("a", {2, 4}), row("b", {0, 0.5}), row("c", {0, 0})};
  return result;
}

TEST(Suite, FiguresOfThreeTasksAreThoseOfTheFormulas) {
  const SuiteScore score = score_suite(three_tasks());
  EXPECT_EQ(score.counted, 3);
  EXPECT_EQ(score.samples, 2);
  EXPECT_DOUBLE_EQ(figure(score, "pass@1"), (1 + 0.5 + 0) / 3);
  EXPECT_DOUBLE_EQ(figure(score, "pass@2"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(figure(score, "speedup@1"), (3 + 0.25 + 0) / 3);
  EXPECT_DOUBLE_EQ(figure(score, "speedup@2"), (4 + 0.5 + 0) / 3);
  EXPECT_DOUBLE_EQ(figure(score, "efficiency@2"), (2 + 0.25 + 0) / 3);
  EXPECT_DOUBLE_EQ(figure(score, "fast_0@1"), 0.5);
  EXPECT_DOUBLE_EQ(figure(score, "fast_1@1"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(figure(score, "fast_2@1"), 0.5 / 3) << "strictly more than twice";
  EXPECT_DOUBLE_EQ(figure(score, "fast_0@best"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(figure(score, "geomean, failures as the baseline"), std::cbrt(4 * 0.5 * 1));
  EXPECT_DOUBLE_EQ(figure(score, "geomean, failures excluded"), std::sqrt(4 * 0.5));
}

TEST(Suite, EveryFigureLiesInItsInterval) {
  for (const SuiteFigure& figure : score_suite(three_tasks()).figures) {
    EXPECT_LE(figure.value.low, figure.value.value) << figure.name;
    EXPECT_GE(figure.value.high, figure.value.value) << figure.name;
  }
}

TEST(Suite, ATaskWithoutSamplesFailedAndAnUnsupportedOneDoesNotCount) {
  SuiteResult result;
  result.rows = {row("a", {2}), row("b", {}), row("c", {})};
  result.rows[2].task.unsupported = "opaque: it sorts";
  const SuiteScore score = score_suite(result);
  EXPECT_EQ(score.counted, 2);
  EXPECT_EQ(score.missing, 1);
  EXPECT_EQ(score.unsupported, 1);
  EXPECT_DOUBLE_EQ(figure(score, "pass@1"), 0.5);
  EXPECT_DOUBLE_EQ(figure(score, "geomean, failures as the baseline"), std::sqrt(2));
  EXPECT_EQ(result.rows[2].outcome(), "unsupported");
  EXPECT_EQ(result.rows[2].reason(), "opaque: it sorts");
}

TEST(Suite, ASampleThatCannotBeJudgedTakesItsTaskOutOfTheFigures) {
  SuiteResult result;
  result.rows = {row("a", {2}), row("b", {0})};
  result.rows[1].samples[0].state = "unsupported";
  const SuiteScore score = score_suite(result);
  EXPECT_EQ(score.counted, 1);
  EXPECT_DOUBLE_EQ(figure(score, "pass@1"), 1);
}

TEST(Suite, ASpeedupWhoseIntervalReachesOneIsNotFaster) {
  SuiteRow made = row("a", {1.05});
  EXPECT_EQ(made.outcome(), "passed");
  made.samples[0].low = 1.01;
  EXPECT_EQ(made.outcome(), "faster");
}

TEST(Suite, WhatItsBenchmarksOwnProgramPassedIsProvisional) {
  SuiteRow made = row("a", {0, 3});
  made.samples[1].provisional = true;
  EXPECT_EQ(made.outcome(), "provisional");
  EXPECT_EQ(made.reason(), "");
}

TEST(Suite, WithoutAnyCountedTaskThereAreNoFiguresAndTheReportsStillStand) {
  SuiteResult result;
  result.suite = "none";
  result.rows = {row("a", {})};
  result.rows[0].task.unsupported = "opaque: it sorts";
  const SuiteScore score = score_suite(result);
  EXPECT_TRUE(score.figures.empty());
  EXPECT_THAT(table_text(result, score), HasSubstr("it sorts"));
  EXPECT_THAT(render_suite(result, score), HasSubstr("No task counts"));
  EXPECT_EQ(to_json(result, score)["tasks"]["unsupported"], 1);
}

TEST(Suite, ThePageHasARowAReasonAndAFilterForEveryOutcomeAndNoScript) {
  SuiteResult result = three_tasks();
  result.rows[1].task.level = 2;
  result.rows[2].samples[0].reason = "<b> & more";
  const std::string page = render_suite(result, score_suite(result));
  EXPECT_THAT(page, HasSubstr("data-outcome='faster' data-level='0'"));
  EXPECT_THAT(page, HasSubstr("id='outcome-failed'"));
  EXPECT_THAT(page, HasSubstr("id='level-2'"));
  EXPECT_THAT(page, HasSubstr("&lt;b&gt; &amp; more"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("id='outcome-missing'"))) << "no row is so";
}

TEST(Suite, TheTableOfThePageHasAHeadForEveryColumnUnderBothProtocols) {
  const auto count = [](const std::string& text, const std::string& what) {
    size_t n = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
    return n;
  };
  for (const bool both : {false, true}) {
    SuiteResult result = three_tasks();
    if (both) {
      for (SuiteRow& row : result.rows) {
        for (SuiteSample& sample : row.samples) sample.kernelbench = KernelBenchVerdict{};
      }
    }
    const std::string page = render_suite(result, score_suite(result));
    const std::string table = page.substr(page.find("<h2>Tasks"));
    const size_t row = table.find("<tr data-");
    const std::string cells = table.substr(row, table.find("</tr>", row) - row);
    EXPECT_EQ(count(table.substr(0, row), "<th"), count(cells, "<td"));
    EXPECT_EQ(count(cells, "<td"), both ? 9u : 7u);
  }
}

}  // namespace
}  // namespace quern
