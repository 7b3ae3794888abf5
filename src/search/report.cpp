// SPDX-License-Identifier: Apache-2.0
#include "search/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "llm/agent_client.h"
#include "search/report_page.h"
#include "search/report_pictures.h"
#include "store/diff.h"

namespace quern {
namespace {

/// What each rung of the ladder means (DESIGN section 7).
struct LevelRow {
  const char* level;
  const char* meaning;
};
constexpr LevelRow kLevels[] = {
    {"V0",
     "it compiles, runs, writes every output element, stays inside its buffers and leaves "
     "its inputs unchanged"},
    {"V1",
     "it agrees with a double-precision oracle within an honest rounding bound, on several "
     "distributions and on hidden odd shapes, and is deterministic"},
    {"V2",
     "on integer data, where every evaluation order is exact, it agrees bit for bit at full "
     "size on the real device"},
};

const Attempt* attempt_by_id(const ReportData& data, const std::string& id) {
  for (const Attempt& attempt : data.attempts) {
    if (attempt.candidate.id == id) return &attempt;
  }
  return nullptr;
}

/// The winner the run named; while it has not, the fastest so far.
const Attempt* best_attempt(const ReportData& data) {
  const auto& summary = data.run.summary;
  if (summary && summary->is_object() && summary->contains("best") &&
      (*summary)["best"].is_object()) {
    return attempt_by_id(data, (*summary)["best"].value("candidate_id", ""));
  }
  const Attempt* best = nullptr;
  for (const Attempt& attempt : data.attempts) {
    const Timing* timing = timing_of(attempt.evaluation.verdict);
    if (!timing || timing->early_rejected || attempt.evaluation.alarm) continue;
    if (attempt.candidate.proposer == "baseline") continue;
    if (!best || timing->median_ns < timing_of(best->evaluation.verdict)->median_ns) {
      best = &attempt;
    }
  }
  return best;
}

std::vector<const Attempt*> baselines_of(const ReportData& data) {
  std::vector<const Attempt*> list;
  for (const Attempt& attempt : data.attempts) {
    if (attempt.candidate.proposer == "baseline" && passed(attempt.evaluation.verdict)) {
      list.push_back(&attempt);
    }
  }
  std::sort(list.begin(), list.end(), [](const Attempt* a, const Attempt* b) {
    return timing_of(a->evaluation.verdict)->median_ns <
           timing_of(b->evaluation.verdict)->median_ns;
  });
  return list;
}

const Duel* duel_between(const ReportData& data, const Attempt& a, const Attempt& b) {
  for (const DuelRecord& record : data.duels) {
    if (record.candidate_id == a.candidate.id && record.baseline_id == b.candidate.id) {
      return &record.duel;
    }
  }
  return nullptr;
}

std::string hardware_text(const Environment& e) {
  if (!e.device.empty()) return html_escape(e.device);
  return fmt::format("{}, {} thread{}, {}", html_escape(e.cpu), e.threads,
                     e.threads == 1 ? "" : "s", html_escape(e.isa));
}

std::string claim(const ReportData& data, const Attempt* best) {
  const RunOptions& options = data.run.options;
  std::string state;
  if (data.run.state != "finished") {
    state = fmt::format("<p class='bad'>This run is not finished ({}).</p>",
                        html_escape(data.run.state));
  }
  if (!best) return state + "<p class='claim'>No kernel has passed.</p>";
  auto baselines = baselines_of(data);
  const Duel* duel = baselines.empty() ? nullptr : duel_between(data, *best, *baselines[0]);
  const Timing& timing = *timing_of(best->evaluation.verdict);
  std::string sentence;
  if (duel) {
    const char* relation = !duel->different ? "the speed of (no difference was found)"
                           : duel->low > 1  ? "the speed of"
                                            : "the speed of (it is slower than)";
    sentence = fmt::format(
        "<strong>{:.2f}×</strong> {} <b>{}</b>, the fastest baseline that applies (95&nbsp;% "
        "interval {:.2f} to {:.2f}, {} interleaved pairs in one run). ",
        duel->speedup, relation, html_escape(baselines[0]->candidate.note), duel->low, duel->high,
        duel->pairs);
  }
  sentence += fmt::format("{} a call ({} to {})", duration_text(timing.median_ns),
                          duration_text(timing.low_ns), duration_text(timing.high_ns));
  if (best->evaluation.roofline > 0) {
    sentence += fmt::format(", {:.0f}&nbsp;% of what {} allows", 100 * best->evaluation.roofline,
                            html_escape(data.run.work.bound));
  }
  return fmt::format("{}<p class='claim'>{}.<br><span class='soft'>{} at size {}, on {}</span></p>",
                     state, sentence, html_escape(options.task_name), html_escape(options.size),
                     hardware_text(data.run.environment));
}

std::string verification(const Attempt* best) {
  if (!best) return "";
  const Passed& result = std::get<Passed>(best->evaluation.verdict);
  std::string body = fmt::format("<p>Level <b>{}</b>: {}</p><ul>", html_escape(result.level),
                                 html_escape(result.method));
  for (const LevelRow& row : kLevels) {
    if (result.level >= row.level) body += fmt::format("<li>{}: {}.</li>", row.level, row.meaning);
  }
  body += "</ul>";
  if (best->evaluation.checks.empty()) return body;
  body +=
      "<details><summary>Every check</summary><div class='wide'><table><tr><th>level<th>check"
      "<th>result<th class='n'>largest error<th class='n'>RMS error</tr>";
  for (const Check& check : best->evaluation.checks) {
    body += fmt::format("<tr><td>{}<td>{}<td>{}<td class='n'>{:.3g}<td class='n'>{:.3g}</tr>",
                        html_escape(check.level), html_escape(check.name),
                        check.passed ? "passed" : "failed", check.max_error, check.rms_error);
  }
  return body +
         "</table></div><p class='soft'>Errors in units of the rounding-error scale; 0 where "
         "the comparison is bit for bit.</p></details>";
}

std::string search_section(const ReportData& data) {
  std::map<std::string, int> counts;
  int total = 0;
  for (const Attempt& attempt : data.attempts) {
    if (attempt.candidate.proposer == "baseline") continue;
    ++counts[std::string(verdict_name(attempt.evaluation.verdict))];
    ++total;
  }
  std::vector<std::string> parts;
  for (const auto& [name, count] : counts) parts.push_back(fmt::format("{} {}", count, name));
  return fmt::format(
      "<p>{} candidates in {:.0f} s: {}.</p>{}<p class='soft'>Line: best so far. "
      "Hollow: stopped early as clearly slower. C does not compile, L cannot be "
      "loaded, X crashed, T timed out, W wrong result, R rejected.</p>",
      total, data.run.spent_s, join(parts, ", "), search_picture(data));
}

std::string baselines_section(const ReportData& data, const Attempt* best) {
  std::string rows;
  auto row = [&](const Attempt& attempt, const std::string& name) {
    const Timing& timing = *timing_of(attempt.evaluation.verdict);
    rows += fmt::format(
        "<tr><td>{}<td class='n'>{}<td class='n'>{}&nbsp;–&nbsp;{}<td class='n'>"
        "{:.0f}&nbsp;%</tr>",
        html_escape(name), duration_text(timing.median_ns), duration_text(timing.low_ns),
        duration_text(timing.high_ns), 100 * attempt.evaluation.roofline);
  };
  if (best) row(*best, "best kernel");
  for (const Attempt* baseline : baselines_of(data)) row(*baseline, baseline->candidate.note);
  if (rows.empty()) return "";
  return "<div class='wide'><table><tr><th>implementation<th class='n'>median<th class='n'>95 % "
         "interval<th class='n'>of floor</tr>" +
         rows + "</table></div>";
}

/// From the first ancestor to the best, with the action that led to each.
std::string lineage(const ReportData& data, const Attempt* best) {
  std::vector<const Attempt*> chain;
  std::set<std::string> seen;
  for (const Attempt* at = best; at && seen.insert(at->candidate.id).second;) {
    chain.push_back(at);
    at = at->candidate.parents.empty() ? nullptr : attempt_by_id(data, at->candidate.parents[0]);
  }
  if (chain.empty()) return "";
  std::string body = "<ol>";
  for (auto it = chain.rbegin(); it != chain.rend(); ++it) {
    const Attempt& attempt = **it;
    const Timing* timing = timing_of(attempt.evaluation.verdict);
    body +=
        fmt::format("<li>attempt {}{}{}: <code>{}</code>{}</li>", attempt.number,
                    timing ? ", " + duration_text(timing->median_ns) : "",
                    attempt.time.empty() ? "" : ", at " + html_escape(attempt.time),
                    html_escape(attempt.action),
                    attempt.candidate.note.empty()
                        ? ""
                        : " <span class='soft'>" + html_escape(attempt.candidate.note) + "</span>");
  }
  body += "</ol>";
  if (!best->candidate.trace.empty()) {
    body += fmt::format("<details><summary>The whole plan</summary><pre>{}</pre></details>",
                        html_escape(best->candidate.trace));
  }
  return body;
}

std::string diff_section(const ReportData& data, const Attempt* best) {
  if (!best || best->candidate.parents.empty()) return "";
  const Attempt* parent = attempt_by_id(data, best->candidate.parents[0]);
  if (!parent) return "";
  std::string body = "<pre>";
  for (const std::string& text :
       split(unified_diff(parent->candidate.source, best->candidate.source), '\n')) {
    const char* kind = text.starts_with("@@")  ? "hunk"
                       : text.starts_with("+") ? "add"
                       : text.starts_with("-") ? "del"
                                               : nullptr;
    body += kind ? fmt::format("<span class='{}'>{}</span>", kind, html_escape(text))
                 : html_escape(text) + "\n";
  }
  return body + "</pre>";
}

std::string failures(const ReportData& data) {
  std::set<std::string> seen;
  std::string body;
  for (const Attempt& attempt : data.attempts) {
    const Verdict& verdict = attempt.evaluation.verdict;
    std::string name(verdict_name(verdict));
    if (const auto* rejected = std::get_if<Rejected>(&verdict)) name += ": " + rejected->breach;
    if (passed(verdict) || !seen.insert(name).second) continue;
    body +=
        fmt::format("<details><summary><b>{}</b>, attempt {}: {}</summary><pre>{}</pre></details>",
                    html_escape(name), attempt.number, html_escape(verdict_reason(verdict)),
                    html_escape(shorten(verdict_evidence(verdict), 4000)));
  }
  for (const Attempt& attempt : data.attempts) {
    if (!attempt.evaluation.alarm) continue;
    body += fmt::format("<p><b>alarm</b>, attempt {}: {}</p>", attempt.number,
                        html_escape(*attempt.evaluation.alarm));
    break;
  }
  return body;
}

std::string command_line(const RunOptions& o, const std::string& task) {
  std::vector<std::string> budget;
  if (o.budget_attempts > 0) budget.push_back(fmt::format("{}", o.budget_attempts));
  if (o.budget_s > 0) budget.push_back(fmt::format("{:g}s", o.budget_s));
  std::string text = fmt::format(
      "quern optimize {} --size {} --target {} --budget {} --recipe {} "
      "--seed {}",
      task, o.size, o.target, join(budget, ","), o.recipe, o.seed);
  if (o.threads > 0) text += fmt::format(" --threads {}", o.threads);
  if (llm::is_agent(o.model)) {
    text += fmt::format(" --agent '{}'", o.model.substr(llm::kAgentPrefix.size()));
  } else if (!o.model.empty()) {
    text += fmt::format(" --model {}", o.model);
  }
  if (o.budget_calls > 0) text += fmt::format(" --max-calls {}", o.budget_calls);
  if (o.budget_tokens > 0) text += fmt::format(" --max-tokens {}", o.budget_tokens);
  if (o.budget_usd > 0) text += fmt::format(" --max-usd {:g}", o.budget_usd);
  return text;
}

std::string environment_section(const ReportData& data) {
  const Environment& e = data.run.environment;
  std::string body = "<div class='wide'><table>";
  auto row = [&](const char* name, const std::string& value) {
    if (!value.empty()) {
      body += fmt::format("<tr><th>{}<td>{}</tr>", name, html_escape(value));
    }
  };
  row("device", e.device);
  row("processor", fmt::format("{}, {} threads, {}", e.cpu, e.threads, e.isa));
  row("compiler", e.compiler);
  row("system", e.kernel);
  row("sandbox", e.sandbox);
  row("measured peaks", fmt::format("copy {:.3g} GB/s, read {:.3g} GB/s, f32 FMA {:.4g} GFLOP/s",
                                    e.copy_bandwidth_gbs, e.read_bandwidth_gbs, e.fma_gflops));
  row("clock", data.run.options.clock);
  row("run", fmt::format("{}, begun {}", data.run.run_id, data.run.created_at));
  return body + "</table></div>";
}

}  // namespace

std::string render_report(const ReportData& data) {
  const RunOptions& options = data.run.options;
  const Attempt* best = best_attempt(data);
  std::string title =
      fmt::format("{} at size {}", html_escape(options.task_name), html_escape(options.size));
  std::string body = fmt::format("<p class='soft'>Quern report</p><h1>{}</h1>\n", title);
  body += claim(data, best);
  body += html_section("What was verified", verification(best));
  body += html_section("The search", search_section(data));
  body += html_section("Roofline", roofline_picture(data, best));
  body += html_section("Baselines", baselines_section(data, best));
  body += html_section("Lineage of the best", lineage(data, best));
  body += html_section("What the last step changed", diff_section(data, best));
  if (best) {
    body += html_section("Source",
                         fmt::format("<details><summary>best.cpp, candidate {:.12}</summary>"
                                     "<pre>{}</pre></details>",
                                     best->candidate.id, html_escape(best->candidate.source)));
  }
  body += html_section("One of each failure", failures(data));
  body += html_section("The task", fmt::format("<pre>{}</pre>", html_escape(options.task_text)));
  body += html_section(
      "To reproduce it",
      fmt::format("<pre>{}</pre>", html_escape(command_line(options, options.task_name))));
  body += html_section("Where it ran", environment_section(data));
  return html_page(title, body);
}

Result<std::string> render_report(RunStore& store) {
  ReportData data;
  QUERN_ASSIGN(data.run, store.run());
  QUERN_ASSIGN(data.attempts, store.attempts());
  QUERN_ASSIGN(data.duels, store.duels());
  data.directory = store.directory();
  return render_report(data);
}

}  // namespace quern
