// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/strings.h"
#include "search/report_page.h"
#include "search/suite.h"
#include "search/svg.h"

namespace quern {
namespace {

using metrics::Interval;

constexpr double kWidth = 720, kLeft = 64, kRight = 16, kTop = 14, kBottom = 44;
constexpr double kCurveHeight = 300, kRowHeight = 15, kNames = 250;
constexpr const char* kGeomean = "geomean, failures as the baseline";
constexpr const char* kOutcomes[] = {"faster",  "passed",      "provisional", "failed",
                                     "missing", "unsupported", "not_run"};

std::string interval_text(const SuiteFigure& figure) {
  const Interval& i = figure.value;
  if (!std::isfinite(i.value)) return "-";
  if (figure.share) {
    return fmt::format("{:.1f} % [{:.1f}, {:.1f}]", 100 * i.value, 100 * i.low, 100 * i.high);
  }
  return fmt::format("{:.3f} [{:.3f}, {:.3f}]", i.value, i.low, i.high);
}

std::string speedup_of(const SuiteRow& row) {
  const SuiteSample* best = row.best();
  return best != nullptr && best->passed() ? fmt::format("{:.2f}", best->speedup) : "-";
}

/// How a protocol is called in tables.
std::string shown_name(const std::string& protocol) {
  return protocol == "kernelbench" ? "KernelBench" : "strict";
}

std::string agreement_text(const SuiteScore& score) {
  const Agreement& a = score.agreement;
  return fmt::format(
      "{} samples judged under both protocols: right under both {}, wrong under both {}, right "
      "under KernelBench's only {}, right under ours only {}",
      a.samples, a.both, a.neither, a.only_kernelbench, a.only_strict);
}

/// The figure of the same name under the other protocol.
std::string other_interval(const SuiteScore& score, const std::string& name) {
  const auto found = std::ranges::find(score.other, name, &SuiteFigure::name);
  return found == score.other.end() ? "-" : interval_text(*found);
}

std::string counts_text(const SuiteScore& score) {
  return fmt::format(
      "{} tasks: {} counted (of which {} without a sample), {} unsupported, {} not run",
      score.tasks, score.counted, score.missing, score.unsupported, score.not_run);
}

std::string source_text(const SuiteResult& result) {
  if (!result.candidates.empty()) return "candidates of " + result.candidates;
  return fmt::format("recipe {}{}, budget {} a sample", result.recipe,
                     result.model.empty() ? "" : ", model " + result.model, result.budget);
}

std::string speedup_text(const SuiteRow& row) {
  const SuiteSample* best = row.best();
  if (best == nullptr || !best->passed()) return "-";
  return fmt::format("{:.2f} [{:.2f}, {:.2f}]", best->speedup, best->low, best->high);
}

std::string passed_text(const SuiteRow& row) {
  const auto passed = std::ranges::count_if(row.samples, &SuiteSample::passed);
  return fmt::format("{}/{}", passed, row.samples.size());
}

/// Imported tasks have level and number in their names, too.
std::string task_text(const SuiteTask& task) {
  if (task.level <= 0) return task.name;
  const std::string prefix = fmt::format("l{}_{}_", task.level, task.problem);
  const bool twice = task.name.starts_with(prefix);
  return fmt::format("{}/{} {}", task.level, task.problem,
                     twice ? task.name.substr(prefix.size()) : task.name);
}

/// Names of tasks are ASCII: a character is a byte.
std::string cut(const std::string& name, size_t limit) {
  return name.size() <= limit ? name : name.substr(0, limit - 1) + "…";
}

/// The figures that a reader asks for first.
std::string claim(const SuiteScore& score) {
  std::string text;
  for (const SuiteFigure& figure : score.figures) {
    if (figure.name == "fast_1@1") {
      text += fmt::format(
          "<strong>{:.0f} %</strong> of tasks right and faster than their fastest "
          "baseline, one sample drawn; ",
          100 * figure.value.value);
    } else if (figure.name == kGeomean) {
      text += fmt::format(
          "<strong>{:.2f}×</strong> geometric mean of best samples, failures as the "
          "baseline.",
          figure.value.value);
    }
  }
  return text.empty() ? "No task counts: the rows say why." : text;
}

/// A step function with its band, from left to right.
std::string fast_line(const FastCurve& curve, const std::vector<Interval>& values,
                      const svg::Scale& x, const svg::Scale& y, const char* dashes) {
  std::string upper, lower, points;
  for (size_t i = 0; i < curve.p.size(); ++i) {
    const double at = x(curve.p[i]);
    points += fmt::format("{:.1f},{:.1f} ", at, y(values[i].value));
    upper += fmt::format("{:.1f},{:.1f} ", at, y(values[i].high));
    lower.insert(0, fmt::format("{:.1f},{:.1f} ", at, y(values[i].low)));
  }
  return fmt::format(
      "<polygon class='hit' fill-opacity='.12' points='{}{}'/>"
      "<polyline class='best' stroke-dasharray='{}' points='{}'/>",
      upper, lower, dashes, points);
}

std::string fast_picture(const SuiteScore& score) {
  const FastCurve& curve = score.curve;
  if (curve.p.empty()) return "";
  const svg::Scale x{curve.p.front(), curve.p.back(), kLeft, kWidth - kRight, true};
  const svg::Scale y{0, 1, kCurveHeight - kBottom, kTop, false};
  std::string body;
  for (double share : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    body += svg::line("grid", kLeft, y(share), kWidth - kRight, y(share));
    body += svg::label("end", kLeft - 6, y(share) + 4, fmt::format("{:.0f} %", 100 * share));
  }
  for (double p : {0.25, 0.5, 1.0, 2.0, 4.0, 8.0}) {
    body += svg::label("middle", x(p), kCurveHeight - kBottom + 16, fmt::format("{:g}×", p));
  }
  body += svg::line("base", x(1), kTop, x(1), kCurveHeight - kBottom);
  body += fast_line(curve, curve.one, x, y, "none");
  if (score.samples > 1) body += fast_line(curve, curve.best, x, y, "6 4");
  body +=
      svg::label("middle", (kLeft + kWidth) / 2, kCurveHeight - 8,
                 score.samples > 1 ? "p (solid: one sample drawn; dashed: the best of all)" : "p");
  return svg::frame("Share of tasks that are right and more than p times as fast", kWidth,
                    kCurveHeight, body);
}

/// Counted tasks, fastest first, with the interval of each one's best sample.
std::string speedups_picture(const SuiteResult& result) {
  std::vector<const SuiteRow*> rows;
  double low = 0.5, high = 2;
  for (const SuiteRow& row : result.rows) {
    const SuiteSample* best = row.best();
    if (!row.counted() || best == nullptr || !best->passed()) continue;
    rows.push_back(&row);
    low = std::min(low, 0.9 * best->low);
    high = std::max(high, 1.1 * best->high);
  }
  if (rows.empty()) return "";
  std::ranges::stable_sort(rows, [](const SuiteRow* a, const SuiteRow* b) {
    return a->best()->speedup > b->best()->speedup;
  });
  const double height = kTop + kRowHeight * static_cast<double>(rows.size()) + kBottom;
  const svg::Scale x{std::max(low, 1e-3), high, kNames, kWidth - kRight, true};
  std::string body;
  for (double value : svg::round_values(x.low, x.high)) {
    body += svg::line("grid", x(value), kTop, x(value), height - kBottom);
    body += svg::label("middle", x(value), height - kBottom + 16, fmt::format("{:g}×", value));
  }
  body += svg::line("base", x(1), kTop, x(1), height - kBottom);
  double at = kTop + kRowHeight / 2;
  for (const SuiteRow* row : rows) {
    const SuiteSample& best = *row->best();
    body += svg::label("end", kNames - 8, at + 4, cut(task_text(row->task), 34));
    body += svg::line("roof", x(std::max(best.low, x.low)), at, x(std::min(best.high, x.high)), at);
    body += fmt::format(
        "<circle class='{}' cx='{:.1f}' cy='{:.1f}' r='4'><title>{}: {}</title></circle>",
        best.low > 1 ? "hit" : "other", x(best.speedup), at, html_escape(row->task.name),
        speedup_text(*row));
    at += kRowHeight;
  }
  body += svg::label("middle", (kNames + kWidth) / 2, height - 8,
                     "fastest baseline ÷ best sample, with its 95 % interval");
  return svg::frame("Speedup of every task", kWidth, height, body);
}

std::string figures_table(const SuiteResult& result, const SuiteScore& score) {
  const bool both = !score.other.empty();
  std::string rows = html_row({"figure", "value [95 %]"}, "th");
  if (both) {
    rows = html_row({"figure", shown_name(result.protocol) + " [95 %]",
                     shown_name(other_protocol(result.protocol)) + " [95 %]"},
                    "th");
  }
  for (const SuiteFigure& figure : score.figures) {
    rows += fmt::format("<tr><td>{}<br><span class='soft'>{}</span><td class='n'>{}{}</tr>",
                        html_escape(figure.name), html_escape(figure.about), interval_text(figure),
                        both ? "<td class='n'>" + other_interval(score, figure.name) : "");
  }
  return html_table(rows);
}

/// A choice of rows that needs no script: radio buttons before the table, and a rule for each.
class Filter {
 public:
  explicit Filter(std::string group) : group_(std::move(group)) { add("all", "all", ""); }

  void add(const std::string& key, const std::string& shown, const std::string& count) {
    const std::string id = fmt::format("{}-{}", group_, key);
    buttons_ += fmt::format("<input type='radio' name='{}' id='{}'{}><label for='{}'>{}{}</label>",
                            group_, id, key == "all" ? " checked" : "", id, html_escape(shown),
                            count.empty() ? "" : " " + count);
    if (key != "all") {
      rules_ += fmt::format("#{}:checked~.wide tr[data-{}]:not([data-{}='{}']){{display:none}}\n",
                            id, group_, group_, key);
    }
  }
  const std::string& buttons() const { return buttons_; }
  const std::string& rules() const { return rules_; }

 private:
  std::string group_, buttons_, rules_;
};

constexpr const char* kFilterStyle =
    ".filter input{position:absolute;opacity:0}"
    ".filter label{display:inline-block;padding:.2rem .7rem;margin:0 .3rem .4rem 0;"
    "border:1px solid var(--rule);border-radius:1rem;cursor:pointer;font-size:.9rem}"
    ".filter input:checked+label{background:var(--accent);color:var(--paper)}"
    ".filter input:focus-visible+label{outline:2px solid var(--ink)}"
    ".filter th{white-space:normal;vertical-align:bottom}.filter .n{width:1%}"
    ".filter td:first-child{min-width:11rem;overflow-wrap:anywhere}"
    ".filter td:last-child{min-width:12rem}"
    ".filter th:nth-child(2),.filter th:last-child{text-align:left}.filter th:last-child{width:30%}"
    "@media(min-width:60rem){.filter{--w:min(100vw - 4rem,80rem)}"
    ".filter td:first-child{min-width:16rem}"
    ".filter .wide{width:var(--w);margin-left:calc((100% - var(--w))/2)}}\n";

std::string verdict_text(const SuiteSample& sample) {
  return sample.passed() ? fmt::format("{:.2f}×", sample.speedup) : sample.state;
}

/// Every sample of a task, where it has several, folded away. `other`: see `row_of`.
std::string samples_of(const SuiteRow& row, const SuiteRow* other) {
  if (row.samples.size() < 2) return "";
  std::string list;
  for (size_t i = 0; i < row.samples.size(); ++i) {
    const SuiteSample& sample = row.samples[i];
    std::string text = fmt::format("{}: {}", sample.number, verdict_text(sample));
    if (other != nullptr) text += fmt::format(" / {}", verdict_text(other->samples[i]));
    if (sample.nearest) text += fmt::format("; {:.2f} alike", *sample.nearest);
    if (!sample.passed()) text += "; " + shorten(sample.reason, 160);
    list += fmt::format("<li>{}</li>", html_escape(text));
  }
  const std::string alike =
      row.similarity ? fmt::format(", {:.2f} alike", *row.similarity) : std::string();
  return fmt::format("<details><summary class='soft'>{} samples{}</summary><ul>{}</ul></details>",
                     row.samples.size(), alike, list);
}

/// `other`: the row under the other protocol; null where it judged nothing.
std::string row_of(const SuiteRow& row, const SuiteRow* other) {
  const SuiteSample* best = row.best();
  const bool passed = best != nullptr && best->passed();
  std::string theirs;
  if (other != nullptr) {
    theirs =
        fmt::format("<td class='n'>{}<td class='n'>{}", passed_text(*other), speedup_of(*other));
  }
  return fmt::format(
      "<tr data-outcome='{0}' data-level='{1}'><td>{2}{8}<td>{0}<td class='n'>{3}<td "
      "class='n'>{4}{9}<td class='n'>{5}<td class='n'>{6}<td>{7}</tr>",
      row.outcome(), row.task.level, html_escape(task_text(row.task)), passed_text(row),
      speedup_text(row), passed ? html_escape(best->baseline) : "-",
      passed && best->roofline > 0 ? fmt::format("{:.0f} %", 100 * best->roofline) : "-",
      html_escape(shorten(row.reason(), 300)), samples_of(row, other), theirs);
}

/// `result`: under the protocol asked for; `other`: under the other one, null where it judged none.
std::string rows_table(const SuiteResult& result, const SuiteResult* other) {
  Filter outcomes("outcome"), levels("level");
  for (const char* outcome : kOutcomes) {
    const auto count = std::ranges::count_if(
        result.rows, [&](const SuiteRow& row) { return row.outcome() == outcome; });
    if (count > 0) outcomes.add(outcome, outcome, fmt::format("{}", count));
  }
  std::set<int> known;
  for (const SuiteRow& row : result.rows) known.insert(row.task.level);
  for (int level : known) levels.add(fmt::format("{}", level), fmt::format("level {}", level), "");
  std::vector<std::string> head = {"task", "outcome", "right", "speedup"};
  if (other != nullptr) {
    for (const char* what : {": right", ": speedup"}) {
      head.push_back(shown_name(other->protocol) + what);
    }
  }
  head.insert(head.end(), {"baseline", "of the floor", "why not"});
  std::string rows = html_row(head, "th");
  for (size_t i = 0; i < result.rows.size(); ++i) {
    rows += row_of(result.rows[i], other == nullptr ? nullptr : &other->rows[i]);
  }
  return fmt::format("<style>{}{}{}</style><div class='filter'>{}{}{}</div>", kFilterStyle,
                     outcomes.rules(), levels.rules(),
                     outcomes.buttons() + (known.size() > 1 ? "<br>" : ""),
                     known.size() > 1 ? levels.buttons() : "", html_table(rows));
}

/// Where it was measured, as far as it is known.
std::string machine_text(const SuiteResult& result) {
  const Environment& e = result.environment;
  std::vector<std::string> parts = {"target " + result.target, "clock " + result.clock};
  for (const std::string& part :
       {e.cpu, e.device, fmt::format("{} threads", result.threads), e.isa, e.compiler}) {
    if (!part.empty()) parts.push_back(part);
  }
  return join(parts, ", ");
}

constexpr const char* kHow =
    "<p class='soft'>A speedup is the time of the task's fastest baseline on this machine over "
    "that "
    "of the sample, by paired duel. A sample that does not compile, is wrong, crashes, hangs, "
    "cheats "
    "or is faster than physics allows has failed: its speedup is 0. Tasks without a sample count "
    "as "
    "failed; tasks that are unsupported or were not run do not count. Intervals of figures: "
    "95&nbsp;% "
    "bootstrap over tasks; of single speedups: of the duel.</p>";

}  // namespace

std::string table_text(const SuiteResult& given, const SuiteScore& score) {
  const SuiteResult result = under_protocol(given, given.protocol);
  const std::string name = other_protocol(given.protocol);
  const SuiteResult other = under_protocol(given, name);
  const bool both = score.agreement.samples > 0;
  std::string text = fmt::format("{}: {}\n{}; [95 % bootstrap interval over tasks]\n", result.suite,
                                 source_text(result), counts_text(score));
  if (both) {
    text += fmt::format("{}\n  {:<36} {:>28} {:>28}\n", agreement_text(score), "protocol",
                        shown_name(result.protocol), shown_name(name));
  }
  for (const SuiteFigure& figure : score.figures) {
    text += fmt::format("  {:<36} {:>28}{}\n", figure.name, interval_text(figure),
                        both ? fmt::format(" {:>28}", other_interval(score, figure.name)) : "");
  }
  text += fmt::format("{:<40} {:<11} {:>6} {:>22}{}  {}\n", "task", "outcome", "right", "speedup",
                      both ? fmt::format(" {:>17}", shown_name(name)) : "", "baseline, or why not");
  for (size_t i = 0; i < result.rows.size(); ++i) {
    const SuiteRow& row = result.rows[i];
    const SuiteSample* best = row.best();
    const bool passed = best != nullptr && best->passed();
    const std::string theirs =
        both ? fmt::format(" {:>8} {:>8}", passed_text(other.rows[i]), speedup_of(other.rows[i]))
             : "";
    text +=
        fmt::format("{:<40} {:<11} {:>6} {:>22}{}  {}\n", cut(task_text(row.task), 40),
                    row.outcome(), passed_text(row), speedup_text(row), theirs,
                    passed && row.reason().empty() ? best->baseline : shorten(row.reason(), 120));
  }
  return text;
}

std::string render_suite(const SuiteResult& given, const SuiteScore& score) {
  const SuiteResult result = under_protocol(given, given.protocol);
  const SuiteResult other = under_protocol(given, other_protocol(given.protocol));
  const bool both = score.agreement.samples > 0;
  std::string body = fmt::format(
      "<p class='soft'>Quern report</p><h1>{}</h1><p>{}</p><p class='claim'>{}</p><p>{}</p>"
      "<p class='soft'>{}</p>",
      html_escape(result.suite), html_escape(source_text(result)), claim(score), counts_text(score),
      html_escape(machine_text(result)));
  if (both) {
    body += fmt::format("<p>Protocol: {}, with {} beside it. {}.</p>", shown_name(result.protocol),
                        shown_name(other.protocol), agreement_text(score));
  }
  body += html_section("Faster than p", fast_picture(score));
  body += html_section("Speedups", speedups_picture(result));
  body += html_section("Tasks", rows_table(result, both ? &other : nullptr));
  if (!score.figures.empty()) body += html_section("Figures", figures_table(result, score) + kHow);
  return html_page(html_escape(result.suite), body);
}

}  // namespace quern
