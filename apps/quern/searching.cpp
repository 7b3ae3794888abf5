// SPDX-License-Identifier: Apache-2.0
#include "searching.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/strings.h"
#include "interrupt.h"
#include "models.h"
#include "profile_text.h"
#include "progress.h"
#include "search/report.h"
#include "wiring.h"

namespace quern::cli {
namespace {

std::string best_source_name(const std::string& target) {
  return target == "opencl" ? "best.cl" : target == "cuda" ? "best.cu" : "best.cpp";
}

/// What the hardware counts of the winner, on targets that count: kept beside it as data, with the
/// reason where there is nothing. Null for other targets and clocks.
Result<Json> profile_winner(RunStore& store, Evaluator& evaluator, const RunSummary& summary) {
  QUERN_ASSIGN(const RunRecord run, store.run());
  if (!summary.best || run.options.target != "cuda" || run.options.clock != "steady") return Json();
  QUERN_ASSIGN(const std::vector<Attempt> attempts, store.attempts());
  const auto best = std::ranges::find(attempts, summary.best->number, &Attempt::number);
  if (best == attempts.end()) return Json();
  Json json = {{"attempt", best->number}, {"candidate_id", best->candidate.id}};
  const auto profile = evaluator.profile(best->candidate);
  json["counters"] = profile ? to_json(*profile) : Json(nullptr);
  json["line"] = profile ? profile_line(*profile) : "";
  json["refusal"] = profile ? "" : profile.error().message;
  QUERN_TRY(store.put_artifact(dump(json), "profile"));
  QUERN_TRY(store.put_file("profile.json", dump(json) + "\n"));
  return json;
}

/// Best source, summary and report, from the record.
Result<Json> write_results(RunStore& store, const RunSummary& summary, const llm::Budget* budget,
                           const Json& profile) {
  QUERN_ASSIGN(std::vector<Attempt> attempts, store.attempts());
  QUERN_ASSIGN(RunRecord run, store.run());
  std::string source_path;
  for (const Attempt& attempt : attempts) {
    if (!summary.best || attempt.number != summary.best->number) continue;
    QUERN_TRY(store.put_artifact(attempt.candidate.source, "best source"));
    const std::string name = best_source_name(run.options.target);
    QUERN_TRY(store.put_file(name, attempt.candidate.source));
    source_path = store.directory() + "/" + name;
  }
  Json json = to_json(summary, run.options, source_path);
  json["run_directory"] = store.directory();
  json["report_path"] = store.directory() + "/report.html";
  if (budget != nullptr) json["models"] = budget->to_json();
  if (!profile.is_null()) json["profile"] = profile;
  QUERN_TRY(store.set_summary(json));
  QUERN_ASSIGN(std::string html, render_report(store));
  QUERN_TRY(store.put_file("report.html", html));
  return json;
}

/// The search of a run that had ended already is not done again: it ended as it had.
bool had_spent_models(const RunRecord& run) {
  return run.search_attempts && run.summary && run.summary->is_object() &&
         run.summary->value("ended_by", "") == "model_budget";
}

}  // namespace

/// "64" attempts, or "90s", "5m", "1h" of wall time; both as "64,5m".
Result<void> parse_budget(const std::string& text, RunOptions& options) {
  options.budget_attempts = 0;
  options.budget_s = 0;
  for (const std::string& part : split(text, ',')) {
    char* end = nullptr;
    double value = std::strtod(part.c_str(), &end);
    std::string unit = end;
    double seconds = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
    bool whole = value == std::floor(value) && value <= 1e9;
    if (end == part.c_str() || !(value > 0) || !std::isfinite(value) ||
        (unit.empty() ? !whole : seconds == 0)) {
      return Error{ErrorKind::kUsage, fmt::format("'{}' is not a budget", text),
                   "a number of candidates (64), or a time (90s, 5m, 1h), or both (64,5m)"};
    }
    if (unit.empty()) {
      options.budget_attempts = static_cast<int>(value);
    } else {
      options.budget_s = value * seconds;
    }
  }
  return {};
}

int exit_code(const RunSummary& summary) {
  if (summary.end == SearchEnd::kInterrupted) return kInterrupted;
  if (summary.improved()) return kImproved;
  if (summary.end == SearchEnd::kModelBudget) return kBudgetExhausted;
  return summary.best ? kNoImprovement : kBudgetExhausted;
}

std::string describe(const SearchResult& result, const std::string& directory) {
  const RunSummary& summary = result.summary;
  std::string text;
  if (!summary.best) {
    text = summary.attempts == 0 ? "The run ended before any kernel was tried.\n"
                                 : "No kernel passed.\n";
  } else if (const auto& duel = summary.best->duel) {
    const char* what = summary.improved() ? "faster than"
                       : duel->different  ? "slower than"
                                          : "no different from";
    text = fmt::format(
        "{:.2f}× (95 % interval {:.2f} to {:.2f}) of {}: {} the fastest baseline\n"
        "  {} a call, {:.0f} % of the physics floor, verified at level {}\n",
        duel->speedup, duel->low, duel->high, duel->baseline, what,
        format_ns(summary.best->median_ns), 100 * summary.best->roofline,
        summary.best->verification_level);
  }
  for (const BaselineTime& baseline : summary.baselines) {
    text += fmt::format("  baseline {:<10} {}\n", baseline.name, format_ns(baseline.median_ns));
  }
  if (summary.best) {
    text += fmt::format("  kernel   {}\n", result.json.value("/best/source_path"_json_pointer, ""));
  }
  const std::string counted = result.json.value("/profile/line"_json_pointer, "");
  const std::string refusal = result.json.value("/profile/refusal"_json_pointer, "");
  if (!counted.empty()) text += fmt::format("  counters {}\n", counted);
  if (!refusal.empty()) text += fmt::format("  counters none: {}\n", refusal);
  text += fmt::format("  report   {}/report.html\n", directory);
  if (result.asked_models) text += fmt::format("  models   {}\n", spent_text(result.spend));
  if (summary.end == SearchEnd::kModelBudget) {
    text += fmt::format(
        "The budget of models is spent{}.\n"
        "  go on    quern resume {} with a higher --max-calls, --max-tokens or --max-usd\n",
        summary.improved() ? "" : ", before any kernel was faster than the baselines", directory);
  }
  if (summary.end == SearchEnd::kInterrupted) {
    text += fmt::format("  go on    quern resume {}\n", directory);
  }
  return text;
}

Result<SearchResult> search_to_end(const Context& context, RunStore& store, Evaluator& evaluator,
                                   const TaskAtSize& task, bool quiet) {
  QUERN_ASSIGN(const RunRecord run, store.run());
  std::unique_ptr<llm::Models> models;
  if (!run.options.recipe_text.empty()) {
    QUERN_ASSIGN(models, open_models(context, run.options, task, store.directory()));
  }
  QUERN_ASSIGN(
      std::unique_ptr<Proposer> proposer,
      make_proposer(task, run.options, run.environment, models ? &models->client() : nullptr));
  catch_interrupts();
  ProgressPrinter printer(context);
  SearchParts parts{evaluator, *proposer, store,
                    [&](const Progress& progress) {
                      if (!quiet) printer.show(progress);
                    },
                    interrupted};
  SearchResult result;
  QUERN_ASSIGN(result.summary, run_search(parts));
  printer.clear();
  RunSummary& summary = result.summary;
  if (models) {
    result.asked_models = true;
    result.spend = models->budget().spent();
    const bool refused = summary.end == SearchEnd::kExhausted && models->budget().refused() > 0;
    if (refused || had_spent_models(run)) summary.end = SearchEnd::kModelBudget;
  }
  QUERN_ASSIGN(const Json profile, profile_winner(store, evaluator, summary));
  QUERN_ASSIGN(result.json,
               write_results(store, summary, models ? &models->budget() : nullptr, profile));
  return result;
}

}  // namespace quern::cli
