// SPDX-License-Identifier: Apache-2.0
#include "search/replay.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/strings.h"
#include "commands.h"
#include "llm/models.h"
#include "progress.h"
#include "search/what_if.h"
#include "wiring.h"

namespace quern::cli {
namespace {

constexpr size_t kDifferencesShown = 20;

/// Exit code of a replay that took another course.
constexpr int kDiffers = kInternalError;

struct ReplayArguments {
  std::string directory, recipe;
  std::optional<uint64_t> seed;
};

Json json_of(const ReplayDifference& difference) {
  return {{"attempt", difference.number < 0 ? Json(nullptr) : Json(difference.number)},
          {"field", difference.field},
          {"recorded", difference.recorded},
          {"replayed", difference.replayed}};
}

std::string text_of(const ReplayDifference& difference) {
  const std::string where =
      difference.number < 0 ? "the run" : fmt::format("attempt {}", difference.number);
  return fmt::format("  {}, {}: recorded {}, replayed {}\n", where, difference.field,
                     difference.recorded, difference.replayed);
}

Json header(const RecordedRun& recorded) {
  return {{"run_id", recorded.run.run_id},
          {"task", recorded.run.options.task_name},
          {"recipe", recorded.run.options.recipe},
          {"seed", recorded.run.options.seed}};
}

Result<int> replay_same(const Context& context, const ReplayArguments& arguments,
                        const RecordedRun& recorded, const TaskAtSize& task) {
  const RunOptions& options = recorded.run.options;
  std::unique_ptr<llm::Models> models;
  if (!options.recipe_text.empty()) {
    QUERN_ASSIGN(models, llm::Models::replay(arguments.directory));
  }
  QUERN_ASSIGN(
      std::unique_ptr<Proposer> proposer,
      make_proposer(task, options, recorded.run.environment, models ? &models->client() : nullptr));
  QUERN_ASSIGN(const ReplayOutcome outcome, replay_run(recorded, *proposer));
  const bool same = outcome.differences.empty();
  if (context.json) {
    Json json = header(recorded);
    json["attempts"] = {{"recorded", outcome.recorded}, {"replayed", outcome.replayed}};
    json["same"] = same;
    json["differences"] = Json::array();
    for (const auto& difference : outcome.differences) {
      json["differences"].push_back(json_of(difference));
    }
    print_json(json);
    return same ? kImproved : kDiffers;
  }
  if (same) {
    print(fmt::format("the same, bit for bit: {} attempts, {} duels, no model and no compiler\n",
                      outcome.replayed, recorded.duels.size()));
    return kImproved;
  }
  std::string text = fmt::format("{} differences; {} attempts recorded, {} replayed\n",
                                 outcome.differences.size(), outcome.recorded, outcome.replayed);
  for (size_t i = 0; i < std::min(kDifferencesShown, outcome.differences.size()); ++i) {
    text += text_of(outcome.differences[i]);
  }
  if (outcome.differences.size() > kDifferencesShown) text += "  …\n";
  print(text + "  hint: a run replays alike with the version of Quern that made it\n");
  return kDiffers;
}

std::string curve_text(const WhatIf& made) {
  std::string text = "  attempts   recorded       here\n";
  const size_t count = made.best_ns.size();
  const auto shown = [](double ns) { return ns > 0 ? format_ns(ns) : "-"; };
  for (size_t at = 1; at <= count; at = at < count && 2 * at > count ? count : 2 * at) {
    text += fmt::format("  {:>8} {:>10} {:>10}\n", at, shown(made.recorded_best_ns[at - 1]),
                        shown(made.best_ns[at - 1]));
  }
  return text;
}

int show(const Context& context, const RecordedRun& recorded, const RunOptions& other,
         const WhatIf& made) {
  if (context.json) {
    Json json = header(recorded);
    json["other"] = {{"recipe", other.recipe}, {"seed", other.seed}};
    json["attempts"] = {
        {"recorded", made.available}, {"reached", made.reached}, {"borrowed", made.borrowed}};
    json["left"] = made.left.empty() ? Json(nullptr) : Json(made.left);
    json["best_ns"] = made.best_ns;
    json["recorded_best_ns"] = made.recorded_best_ns;
    json["trajectory"] = Json::array();
    for (const Attempt& attempt : made.outcome.attempts) {
      if (attempt.candidate.proposer == "baseline") continue;
      json["trajectory"].push_back({{"candidate_id", attempt.candidate.id},
                                    {"action", attempt.action},
                                    {"verdict", verdict_name(attempt.evaluation.verdict)}});
    }
    print_json(json);
    return kImproved;
  }
  std::string text =
      fmt::format("{} with seed {} reaches {} of {} recorded attempts of {}", other.recipe,
                  other.seed, made.reached, made.available, recorded.run.options.recipe);
  if (made.borrowed > 0) {
    text += fmt::format(" ({} made by another operator than it asked for)", made.borrowed);
  }
  text += "\n";
  if (!made.left.empty()) text += fmt::format("  it left the record: {}\n", made.left);
  if (made.reached > 0) text += "best so far, after so many attempts:\n" + curve_text(made);
  print(text);
  return kImproved;
}

Result<int> replay_other(const Context& context, const ReplayArguments& arguments,
                         const RecordedRun& recorded, const TaskAtSize& task) {
  RunOptions other = recorded.run.options;
  if (!arguments.recipe.empty()) other.recipe = recipe_name(arguments.recipe);
  if (arguments.seed) other.seed = *arguments.seed;
  if (!arguments.recipe.empty()) {
    other.recipe_text.clear();
    if (arguments.recipe != "rules") {
      QUERN_ASSIGN(other.recipe_text, recipe_text(arguments.recipe));
    }
  }
  const Environment& environment = recorded.run.environment;
  if (other.recipe_text.empty()) {
    QUERN_ASSIGN(auto proposer, make_proposer(task, other, environment, nullptr));
    QUERN_ASSIGN(const WhatIf made, what_if(recorded, *proposer));
    return show(context, recorded, other, made);
  }
  QUERN_ASSIGN(const Recipe recipe, parse_recipe(other.recipe_text, other.recipe));
  QUERN_ASSIGN(const WhatIf made,
               what_if(recorded, recipe, make_setting(task, other, environment)));
  return show(context, recorded, other, made);
}

Result<int> replay(const Context& context, const ReplayArguments& arguments) {
  QUERN_ASSIGN(RunStore store, RunStore::read(arguments.directory));
  QUERN_ASSIGN(const RecordedRun recorded, load_recorded(store));
  QUERN_ASSIGN(const TaskAtSize task, recorded_task(recorded.run.options));
  if (arguments.recipe.empty() && !arguments.seed) {
    return replay_same(context, arguments, recorded, task);
  }
  return replay_other(context, arguments, recorded, task);
}

}  // namespace

Action add_replay(CLI::App& app) {
  auto a = std::make_shared<ReplayArguments>();
  app.add_option("RUN", a->directory, "Run directory")->required();
  app.add_option("--recipe", a->recipe,
                 "Run another search method over the recorded attempts instead: rules, another of "
                 "`quern recipes`, or a .toml file");
  app.add_option("--seed", a->seed, "Another seed, over the recorded attempts [the run's]");
  return [a](const Context& context) {
    const Result<int> code = replay(context, *a);
    return code ? *code : fail(context, code.error());
  };
}

}  // namespace quern::cli
