// SPDX-License-Identifier: Apache-2.0
#include "search/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "search/report_pictures.h"
#include "search/search.h"
#include "search/simulated_evaluator.h"
#include "search/sweep_proposer.h"

namespace quern {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// A finished run of 40 candidates with failures of every kind.
ReportData finished_run() {
  SimulatedEvaluator evaluator({.fail_share = 0.6});
  RunOptions options;
  options.task_name = "toy";
  options.task_text = "task toy(n = 4)\n# a < b && c\n";
  options.seed = 9;
  options.budget_attempts = 40;
  Result<RunStore> store = RunStore::in_memory(options, evaluator.environment(), evaluator.work());
  SweepProposer proposer("toy", 9);
  Result<RunSummary> summary = run_search({evaluator, proposer, *store, {}, {}});
  EXPECT_TRUE(summary && store->set_summary(to_json(*summary, options, "best.cpp")));
  ReportData data;
  data.run = *store->run();
  data.attempts = *store->attempts();
  data.duels = *store->duels();
  return data;
}

/// Names of elements that were opened and not closed, or closed and not opened. Elements that HTML
/// lets stand open (table cells and the like) are not counted.
std::vector<std::string> unbalanced(const std::string& html) {
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    size_t end = html.find('>', at);
    std::string tag = html.substr(at + 1, end - at - 1);
    bool closing = tag[0] == '/';
    std::string name = tag.substr(closing, tag.find_first_of(" /", closing) - closing);
    static const std::string kLoose = " !doctype meta td th tr br ";
    if (kLoose.find(" " + name + " ") != std::string::npos || tag.back() == '/') continue;
    if (!closing) {
      open.push_back(name);
    } else if (!open.empty() && open.back() == name) {
      open.pop_back();
    } else {
      open.push_back("/" + name);
    }
  }
  return open;
}

TEST(Report, ClaimsWithBaselineIntervalHardwareAndLevel) {
  std::string html = render_report(finished_run());
  EXPECT_THAT(html, HasSubstr("the fastest baseline that applies"));
  EXPECT_THAT(html, HasSubstr("95&nbsp;% interval"));
  EXPECT_THAT(html, HasSubstr("on simulated, 1 thread"));
  EXPECT_THAT(html, HasSubstr("Level <b>V1</b>"));
  EXPECT_THAT(html, HasSubstr("quern optimize toy --size cpu --target cpu --budget 40"));
}

TEST(Report, SaysWhenEachAttemptWasJudged) {
  ReportData data = finished_run();
  for (const Attempt& attempt : data.attempts) {
    ASSERT_THAT(attempt.time, ::testing::MatchesRegex("20..-..-..T..:..:..\\....Z"));
    if (attempt.candidate.proposer == "baseline") continue;
    EXPECT_THAT(search_picture(data), HasSubstr("at " + attempt.time));
  }
  for (Attempt& attempt : data.attempts) attempt.time.clear();
  EXPECT_THAT(render_report(data), Not(HasSubstr(", at ")));
}

TEST(Report, IsSelfContainedAndWellFormed) {
  std::string html = render_report(finished_run());
  for (const char* outside : {"http:", "https:", "<script", "<link", "<img", "@import", "url("}) {
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  }
  EXPECT_THAT(unbalanced(html), ::testing::IsEmpty());
}

TEST(Report, ShowsOneExampleOfEachFailure) {
  ReportData data = finished_run();
  std::string html = render_report(data);
  std::set<std::string> kinds;
  for (const Attempt& attempt : data.attempts) {
    kinds.insert(std::string(verdict_name(attempt.evaluation.verdict)));
  }
  EXPECT_GE(kinds.size(), 5u);
  for (const std::string& kind : kinds) {
    if (kind == "passed") continue;
    EXPECT_THAT(html, HasSubstr("<b>" + kind));
  }
}

TEST(Report, EscapesWhatCandidatesAndTasksSay) {
  ReportData data = finished_run();
  data.attempts.back().candidate.source = "</pre><script>alert(1)</script>";
  data.attempts.back().evaluation.verdict = WrongResult{"<b>bold</b>", "<script>"};
  data.attempts.back().action = "<i>";
  std::string html = render_report(data);
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("<b>bold")));
  EXPECT_THAT(html, HasSubstr("a &lt; b &amp;&amp; c"));
}

TEST(Report, SaysThatARunIsNotFinished) {
  ReportData data = finished_run();
  data.run.state = "running";
  data.run.summary.reset();
  EXPECT_THAT(render_report(data), HasSubstr("not finished"));
  data.attempts.clear();
  data.duels.clear();
  std::string html = render_report(data);
  EXPECT_THAT(html, HasSubstr("No kernel has passed"));
  EXPECT_THAT(unbalanced(html), ::testing::IsEmpty());
}

TEST(Report, MarksEveryFailureInThePictureOfTheSearch) {
  ReportData data = finished_run();
  std::string svg = search_picture(data);
  size_t marks = 0, failed = 0;
  for (size_t at = svg.find("class='fail'"); at != std::string::npos;
       at = svg.find("class='fail'", at + 1)) {
    ++marks;
  }
  for (const Attempt& attempt : data.attempts) failed += !passed(attempt.evaluation.verdict);
  EXPECT_EQ(marks, failed);
  EXPECT_THAT(svg, HasSubstr("class='best'"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(Report, DrawsNoRooflineWithoutPeaks) {
  ReportData data = finished_run();
  EXPECT_NE(roofline_picture(data, nullptr), "");
  data.run.environment.fma_gflops = 0;
  EXPECT_EQ(roofline_picture(data, nullptr), "");
}

}  // namespace
}  // namespace quern
