// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "search/recipe_bench.h"
#include "search/report_page.h"
#include "search/svg.h"

namespace quern {
namespace {

constexpr double kWidth = 720, kHeight = 300, kLeft = 56, kRight = 130, kTop = 14, kBottom = 40;
constexpr int kPoints = 120;  ///< of a mean curve
constexpr double kNano = 1e-9;

double usd_of(const llm::Spend& spend) { return static_cast<double>(spend.nano_usd) * kNano; }

Json to_json(const Interval& interval) {
  return {{"value", interval.value}, {"low", interval.low}, {"high", interval.high}};
}

/// Credit as a factor: what it made the kernels faster by, over all runs together.
Json to_json(const CreditRow& row) {
  Json json = {{"kind", row.kind},        {"name", row.name},           {"uses", row.uses},
               {"credit", row.credit},    {"tokens", row.spend.tokens}, {"calls", row.spend.calls},
               {"usd", usd_of(row.spend)}};
  json["credit_per_use"] = row.uses > 0 ? Json(row.credit / row.uses) : Json(nullptr);
  json["credit_per_usd"] =
      row.spend.nano_usd > 0 ? Json(row.credit / usd_of(row.spend)) : Json(nullptr);
  return json;
}

Json to_json(const BenchRun& run) {
  Json json = {{"recipe", run.recipe},
               {"task", run.task},
               {"seed", run.seed},
               {"directory", run.directory},
               {"verified", run.verified},
               {"improved", run.improved},
               {"over_naive", run.over_naive},
               {"over_baseline", run.over_baseline},
               {"area", std::exp(run.area)},
               {"attempts", run.attempts},
               {"calls", run.spend.calls},
               {"tokens", run.spend.tokens},
               {"usd", usd_of(run.spend)},
               {"wall_s", run.wall_s},
               {"replays_alike", run.differences.empty()}};
  json["curve"] = Json::array();
  for (const CurveStep& step : run.curve) json["curve"].push_back({step.at, step.speedup});
  return json;
}

std::string factor(const Interval& i) {
  return fmt::format("{:.2f} [{:.2f}, {:.2f}]", i.value, i.low, i.high);
}

std::string share(const Interval& i) {
  return fmt::format("{:.0f} % [{:.0f}, {:.0f}]", 100 * i.value, 100 * i.low, 100 * i.high);
}

/// Share of all that the recipe's runs gained, in the logarithm.
std::string share_of(const CreditRow& row, const RecipeScore& score) {
  const double all = score.runs * std::log(score.over_naive.value);
  return all > 0 ? fmt::format("{:.0f} %", 100 * row.credit / all) : "-";
}

std::string per_usd(const CreditRow& row) {
  if (row.spend.nano_usd <= 0) return "-";
  return fmt::format("{:.3g}", row.credit / usd_of(row.spend));
}

std::string ratio(double credit, int uses) {
  return uses > 0 ? fmt::format("{:.4f}", credit / uses) : "-";
}

/// Geometric mean over the runs of a recipe of the best so far at a share of the budget.
double mean_at(const RecipeComparison& comparison, const std::string& recipe, double at) {
  double sum = 0;
  int count = 0;
  for (const BenchRun& run : comparison.runs) {
    if (run.recipe != recipe) continue;
    double best = 1;
    for (const CurveStep& step : run.curve) {
      if (step.at <= at) best = step.speedup;
    }
    sum += std::log(best);
    ++count;
  }
  return count == 0 ? 1 : std::exp(sum / count);
}

/// Recipes are told apart by dashes as well as by name at the end of each line.
std::string curves_picture(const RecipeComparison& comparison) {
  double top = 1.1;
  for (const RecipeScore& score : comparison.scores) {
    top = std::max(top, mean_at(comparison, score.recipe, 1));
  }
  const auto x = [](double at) { return kLeft + at * (kWidth - kLeft - kRight); };
  const auto y = [&](double speedup) {
    return kHeight - kBottom - std::log(speedup) / std::log(top) * (kHeight - kTop - kBottom);
  };
  std::string body;
  for (int i = 0; i <= 4; ++i) {
    const double value = std::exp(std::log(top) * i / 4);
    body += fmt::format(
        "<line class='grid' x1='{:.0f}' y1='{:.1f}' x2='{:.0f}' y2='{:.1f}'/>"
        "<text text-anchor='end' x='{:.0f}' y='{:.1f}'>{:.2f}×</text>",
        x(0), y(value), x(1), y(value), kLeft - 6, y(value) + 4, value);
  }
  double last_y = -1e9;
  std::vector<std::pair<double, size_t>> ends;
  for (size_t i = 0; i < comparison.scores.size(); ++i) {
    const std::string& recipe = comparison.scores[i].recipe;
    std::string points;
    for (int p = 0; p <= kPoints; ++p) {
      const double at = static_cast<double>(p) / kPoints;
      points += fmt::format("{:.1f},{:.1f} ", x(at), y(mean_at(comparison, recipe, at)));
    }
    body += fmt::format(
        "<polyline class='best' stroke-dasharray='{}' points='{}'><title>{}</title>"
        "</polyline>",
        i == 0 ? "none" : fmt::format("{} {}", 2 + 3 * i, 3), points, html_escape(recipe));
    ends.emplace_back(y(mean_at(comparison, recipe, 1)), i);
  }
  std::sort(ends.begin(), ends.end());
  for (const auto& [end_y, i] : ends) {
    last_y = std::max(end_y + 4, last_y + 12);
    body += fmt::format("<text x='{:.0f}' y='{:.1f}'>{}</text>", x(1) + 6, last_y,
                        html_escape(comparison.scores[i].recipe));
  }
  body += fmt::format("<text text-anchor='middle' x='{:.0f}' y='{:.0f}'>share of {}</text>", x(0.5),
                      kHeight - 10, html_escape(print(comparison.equal)));
  return svg::frame("best so far", kWidth, kHeight, body);
}

std::string scores_table(const RecipeComparison& comparison) {
  std::string rows =
      html_row({"recipe", "over naive", "over the fastest baseline", "best-so-far area", "verified",
                "improved", "over " + comparison.scores.front().recipe},
               "th");
  for (const RecipeScore& score : comparison.scores) {
    rows += html_row({score.recipe, factor(score.over_naive), factor(score.over_baseline),
                      factor(score.area), share(score.verified), share(score.improved),
                      factor(score.over_first)});
  }
  return html_table(rows);
}

std::string spent_table(const RecipeComparison& comparison) {
  std::string rows =
      html_row({"recipe", "runs", "candidates", "calls", "tokens", "USD", "hours"}, "th");
  for (const RecipeScore& score : comparison.scores) {
    rows += html_row(
        {score.recipe, fmt::format("{}", score.runs), fmt::format("{}", score.attempts),
         fmt::format("{}", score.spend.calls), fmt::format("{}", score.spend.tokens),
         fmt::format("{:.4f}", usd_of(score.spend)), fmt::format("{:.2f}", score.wall_s / 3600)});
  }
  return html_table(rows);
}

std::string credit_table(const RecipeScore& score) {
  std::string rows = html_row(
      {"who", "uses", "calls", "USD", "share of the gain", "ln per use", "ln per USD"}, "th");
  for (const CreditRow& r : score.credit) {
    rows += html_row({fmt::format("{} {}", r.kind, r.name), fmt::format("{}", r.uses),
                      fmt::format("{}", r.spend.calls), fmt::format("{:.4f}", usd_of(r.spend)),
                      share_of(r, score), ratio(r.credit, r.uses), per_usd(r)});
  }
  return fmt::format("<h3>{}</h3>", html_escape(score.recipe)) + html_table(rows);
}

std::string runs_table(const RecipeComparison& comparison) {
  std::string rows = html_row({"recipe", "task", "seed", "over naive", "over baseline",
                               "candidates", "calls", "replays alike"},
                              "th");
  for (const BenchRun& run : comparison.runs) {
    rows += html_row({run.recipe, run.task, fmt::format("{}", run.seed),
                      run.verified ? fmt::format("{:.2f}", run.over_naive) : "no kernel",
                      fmt::format("{:.2f}", run.over_baseline), fmt::format("{}", run.attempts),
                      fmt::format("{}", run.spend.calls), run.differences.empty() ? "yes" : "NO"});
  }
  return "<details><summary>Every run</summary>" + html_table(rows) + "</details>";
}

constexpr const char* kHow =
    "<p class='soft'>Speedups are geometric means over tasks and seeds: over the naive kernel by "
    "medians (1 where no kernel was verified), over the fastest baseline by paired duel (there the "
    "naive kernel stands where none was verified). Area: the best so far over the naive kernel, "
    "geometric mean over the whole budget. Intervals: 95&nbsp;% bootstrap, tasks drawn, then seeds "
    "within each, the same draws for every recipe. Credit: each step from one correct kernel to "
    "the "
    "next on the lineage of a run's best is worth the logarithm of how much faster it got; it goes "
    "to its operator and strategy, and in equal parts to the calls that wrote it.</p>";

}  // namespace

Json to_json(const RecipeComparison& comparison) {
  Json json = {
      {"equal", print(comparison.equal)}, {"model", comparison.model},
      {"size", comparison.size},          {"clock", comparison.clock},
      {"seeds", comparison.seeds},        {"environment", to_json(comparison.environment)}};
  json["recipes"] = Json::array();
  for (const RecipeScore& score : comparison.scores) {
    Json scored = {{"recipe", score.recipe},
                   {"runs", score.runs},
                   {"over_naive", to_json(score.over_naive)},
                   {"over_baseline", to_json(score.over_baseline)},
                   {"area", to_json(score.area)},
                   {"verified", to_json(score.verified)},
                   {"improved", to_json(score.improved)},
                   {"over_first", to_json(score.over_first)},
                   {"attempts", score.attempts},
                   {"calls", score.spend.calls},
                   {"tokens", score.spend.tokens},
                   {"usd", usd_of(score.spend)},
                   {"wall_s", score.wall_s}};
    scored["credit"] = Json::array();
    for (const CreditRow& credit : score.credit) scored["credit"].push_back(to_json(credit));
    json["recipes"].push_back(scored);
  }
  json["runs"] = Json::array();
  for (const BenchRun& run : comparison.runs) json["runs"].push_back(to_json(run));
  return json;
}

std::string table_text(const RecipeComparison& comparison) {
  std::string text = fmt::format("at equal {}, {} seeds; [95 % bootstrap interval]\n",
                                 print(comparison.equal), comparison.seeds);
  text += fmt::format("{:<14} {:>20} {:>20} {:>20} {:>17} {:>17}\n", "recipe", "over naive",
                      "over baseline", "best-so-far area", "verified", "improved");
  for (const RecipeScore& score : comparison.scores) {
    text += fmt::format("{:<14} {:>20} {:>20} {:>20} {:>17} {:>17}\n", score.recipe,
                        factor(score.over_naive), factor(score.over_baseline), factor(score.area),
                        share(score.verified), share(score.improved));
  }
  text += "who was paid: share of the gain (in ln), uses, ln of speedup per use and per USD\n";
  for (const RecipeScore& score : comparison.scores) {
    for (const CreditRow& r : score.credit) {
      if (r.credit == 0) continue;
      text += fmt::format("{:<14} {:<36} {:>9} {:>6} {:>9} {:>9}\n", score.recipe,
                          r.kind + " " + r.name, share_of(r, score), r.uses,
                          ratio(r.credit, r.uses), per_usd(r));
    }
  }
  return text;
}

std::string render_comparison(const RecipeComparison& comparison) {
  const Environment& e = comparison.environment;
  std::string body = fmt::format(
      "<p class='soft'>Quern report</p><h1>Recipes at equal {}</h1>"
      "<p class='soft'>model {}, size {}, {} seeds, clock {}; {}, {} threads, {}, {}</p>",
      html_escape(print(comparison.equal)),
      html_escape(comparison.model.empty() ? "none" : comparison.model),
      html_escape(comparison.size), comparison.seeds, html_escape(comparison.clock),
      html_escape(e.cpu), e.threads, html_escape(e.isa), html_escape(e.compiler));
  if (comparison.scores.empty()) return html_page("recipes", body + "<p>No run has ended.</p>");
  body += html_section("Outcome", scores_table(comparison) + kHow);
  body += html_section("Best so far", curves_picture(comparison));
  body += html_section("What was spent", spent_table(comparison));
  std::string credit;
  for (const RecipeScore& score : comparison.scores) credit += credit_table(score);
  body += html_section("Who was paid", credit);
  body += html_section("Runs", runs_table(comparison));
  return html_page("recipes", body);
}

}  // namespace quern
