// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "candidate_stream.h"
#include "commands.h"
#include "interrupt.h"
#include "progress.h"
#include "torch_lane.h"
#include "wiring.h"

namespace quern::cli {
namespace {

struct EvalArguments {
  std::string task, first, second, size, devices, guard = "auto";
  RunOptions options;  ///< all but the task
  int repeat = 1;
  bool stream = false, speedup = true;
};

/// A task, its referee, and the fastest baseline that passed.
struct Bench {
  TaskAtSize task;
  std::unique_ptr<Evaluator> evaluator;
  std::optional<Candidate> baseline;
  std::vector<std::pair<std::string, double>> times;  ///< of all that passed: name, median in ns
};

Result<Bench> make_bench(const Context& context, const EvalArguments& arguments,
                         bool with_baseline) {
  Bench bench;
  QUERN_ASSIGN(bench.task,
               load_task_at(context, arguments.task, arguments.size, arguments.options.target));
  RunOptions options = arguments.options;
  set_task(bench.task, options);
  QUERN_ASSIGN(bench.evaluator,
               make_evaluator(context, bench.task, options, arguments.devices, arguments.guard));
  if (!with_baseline) return bench;
  QUERN_ASSIGN(std::vector<Candidate> baselines, bench.evaluator->baselines());
  QUERN_ASSIGN(std::vector<Evaluation> evaluations, bench.evaluator->evaluate(baselines, {}));
  double best = 0;
  for (size_t i = 0; i < evaluations.size(); ++i) {
    const Timing* timing = timing_of(evaluations[i].verdict);
    if (timing) bench.times.emplace_back(baselines[i].note, timing->median_ns);
    if (!timing || (best > 0 && timing->median_ns >= best)) continue;
    best = timing->median_ns;
    bench.baseline = baselines[i];
  }
  return bench;
}

Json eval_json(const Evaluation& evaluation, const std::optional<Duel>& duel) {
  Json json = {{"candidate_id", evaluation.candidate_id},
               {"verdict", verdict_name(evaluation.verdict)},
               {"reason", verdict_reason(evaluation.verdict)},
               {"evidence", verdict_evidence(evaluation.verdict)}};
  const auto* rejected = std::get_if<Rejected>(&evaluation.verdict);
  json["breach"] = rejected ? Json(rejected->breach) : Json(nullptr);
  const Timing* timing = timing_of(evaluation.verdict);
  json["timing"] = nullptr;
  if (timing) {
    json["timing"] = to_json(*timing);
    json["timing"]["samples"] = timing->samples_ns;
  }
  json["speedup"] = duel ? Json(duel->speedup) : Json(nullptr);
  json["speedup_low"] = duel ? Json(duel->low) : Json(nullptr);
  json["speedup_high"] = duel ? Json(duel->high) : Json(nullptr);
  json["baseline"] = duel ? Json(duel->baseline) : Json(nullptr);
  json["roofline"] = evaluation.roofline;
  const auto* passed = std::get_if<Passed>(&evaluation.verdict);
  json["verification_level"] = passed ? Json(passed->level) : Json(nullptr);
  json["method"] = passed ? Json(passed->method) : Json(nullptr);
  Json rest = to_json(evaluation);
  for (const char* key :
       {"alarm", "stages_ms", "checks", "resources", "build", "notes", "cached"}) {
    json[key] = rest[key];
  }
  return json;
}

std::string eval_text(const Evaluation& evaluation, const std::optional<Duel>& duel) {
  std::string text = fmt::format("{}\n", verdict_name(evaluation.verdict));
  if (const auto* passed = std::get_if<Passed>(&evaluation.verdict)) {
    const Timing& t = passed->timing;
    text = fmt::format("passed at level {}: {}\n  {} a call ({} to {}), {:.0f} % of the floor\n",
                       passed->level, passed->method, format_ns(t.median_ns), format_ns(t.low_ns),
                       format_ns(t.high_ns), 100 * evaluation.roofline);
  } else {
    text += fmt::format("  {}\n", verdict_reason(evaluation.verdict));
    std::string evidence = verdict_evidence(evaluation.verdict);
    if (!evidence.empty()) text += evidence + (evidence.ends_with('\n') ? "" : "\n");
  }
  if (duel) {
    text += fmt::format("  {:.3f}× {} (95 % interval {:.3f} to {:.3f})\n", duel->speedup,
                        duel->baseline, duel->low, duel->high);
  }
  if (evaluation.alarm) text += fmt::format("  alarm: {}\n", *evaluation.alarm);
  for (const std::string& note : evaluation.notes) text += fmt::format("  note: {}\n", note);
  return text;
}

int exit_code(const Verdict& verdict) {
  if (passed(verdict)) return kImproved;
  if (std::holds_alternative<TimedOut>(verdict)) return kTimedOut;
  if (std::holds_alternative<Rejected>(verdict)) return kRejected;
  return kIncorrect;
}

Result<Evaluation> evaluate_one(Bench& bench, const Candidate& candidate) {
  QUERN_ASSIGN(std::vector<Evaluation> all, bench.evaluator->evaluate({candidate}, {}));
  if (all.size() != 1) return Error{ErrorKind::kInterrupted, "not evaluated", ""};
  return all[0];
}

Result<int> eval(const Context& context, const EvalArguments& arguments) {
  QUERN_ASSIGN(std::string source, read_candidate(arguments.first));
  QUERN_ASSIGN(Bench bench, make_bench(context, arguments, arguments.speedup));
  Candidate candidate =
      make_candidate(source, "human", candidate_language(arguments.options.target));
  QUERN_ASSIGN(Evaluation evaluation, evaluate_one(bench, candidate));
  std::optional<Duel> duel;
  if (passed(evaluation.verdict) && bench.baseline) {
    QUERN_ASSIGN(duel, bench.evaluator->duel(candidate, *bench.baseline));
    duel->baseline = bench.baseline->note;
  }
  if (context.json) {
    Json json = eval_json(evaluation, duel);
    json["task"] = bench.task.program.name;
    json["size"] = bench.task.size;
    json["baselines"] = Json::object();
    for (const auto& [name, median_ns] : bench.times) json["baselines"][name] = median_ns;
    print_json(json);
  } else {
    std::string text = eval_text(evaluation, duel);
    for (const auto& [name, median_ns] : bench.times) {
      text += fmt::format("  baseline {:<10} {}\n", name, format_ns(median_ns));
    }
    print(text);
  }
  return exit_code(evaluation.verdict);
}

/// JSON lines in, `{"id": …, "source": …}`, one evaluation a line out, in order. What has come by
/// then is taken between two candidates, so that compiling runs ahead of judging; a lone candidate
/// that waits for its answer gets one before the next line comes.
Result<int> eval_stream(const Context& context, const EvalArguments& arguments) {
  CandidateStream input(candidate_language(arguments.options.target));
  QUERN_ASSIGN(Bench bench, make_bench(context, arguments, false));
  catch_interrupts();
  const size_t ahead = arguments.options.target == "cpu" ? 8 : 512;
  std::vector<Json> ids;  // of this call of the evaluator
  OrderedPrinter answers;
  const auto take = [&](size_t most, bool wait) {
    std::vector<Candidate> candidates;
    for (CandidateStream::Line& line : input.take(most, wait)) {
      ids.push_back(std::move(line.id));
      candidates.push_back(std::move(line.candidate));
    }
    return candidates;
  };
  EvaluateRequest request;
  request.done = [&](size_t index, const Evaluation& evaluation) {
    answers.add([id = std::move(ids[index]), evaluation] {
      Json json = {{"id", id}};
      json.update(eval_json(evaluation, std::nullopt));
      return dump(json) + "\n";
    });
  };
  request.stop = [] { return interrupted(); };
  request.more = [&](size_t waiting) { return take(ahead - std::min(ahead, waiting), false); };
  for (auto candidates = take(ahead, true); !candidates.empty(); candidates = take(ahead, true)) {
    QUERN_TRY(bench.evaluator->evaluate(candidates, request));
    ids.clear();
  }
  if (const auto failure = input.failure()) return *failure;
  return interrupted() ? kInterrupted : kImproved;
}

Result<int> compare(const Context& context, const EvalArguments& arguments) {
  QUERN_ASSIGN(std::string first, read_candidate(arguments.first));
  QUERN_ASSIGN(std::string second, read_candidate(arguments.second));
  QUERN_ASSIGN(Bench bench, make_bench(context, arguments, false));
  const std::string language = candidate_language(arguments.options.target);
  Candidate a = make_candidate(first, "human", language);
  Candidate b = make_candidate(second, "human", language);
  for (const auto& [candidate, path] : {std::pair{a, arguments.first}, {b, arguments.second}}) {
    QUERN_ASSIGN(Evaluation evaluation, evaluate_one(bench, candidate));
    if (passed(evaluation.verdict)) continue;
    if (context.json) {
      Json json = eval_json(evaluation, std::nullopt);
      json["path"] = path;
      print_json(json);
    } else {
      print(fmt::format("{}: {}", path, eval_text(evaluation, std::nullopt)));
    }
    return exit_code(evaluation.verdict);
  }
  QUERN_ASSIGN(Duel duel, bench.evaluator->duel(b, a));
  duel.baseline = arguments.first;
  if (arguments.repeat > 1) {
    Json duels = Json::array({to_json(duel)});
    while (static_cast<int>(duels.size()) < arguments.repeat && !interrupted()) {
      QUERN_ASSIGN(const Duel next, bench.evaluator->duel(b, a));
      duels.push_back(to_json(next));
    }
    print_json({{"duels", duels}});
    return kImproved;
  }
  if (context.json) {
    Json json = {{"task", bench.task.program.name},
                 {"size", bench.task.size},
                 {"a", arguments.first},
                 {"b", arguments.second}};
    json.update(to_json(duel));
    print_json(json);
  } else {
    const char* what = !duel.different ? "no difference found"
                       : duel.low > 1  ? "B is faster"
                                       : "A is faster";
    print(
        fmt::format("{}: B runs at {:.3f}× the speed of A (95 % interval {:.3f} to {:.3f}, {} "
                    "pairs in {} rounds)\n  A = {}\n  B = {}\n",
                    what, duel.speedup, duel.low, duel.high, duel.pairs, duel.rounds,
                    arguments.first, arguments.second));
  }
  return kImproved;
}

void add_common(CLI::App& app, const std::shared_ptr<EvalArguments>& a) {
  app.add_option("TASK", a->task,
                 "A task's name (see: quern tasks), the path of a .task file, or a module's .py")
      ->required();
  app.add_option("--size", a->size, "Size set [cpu where the task has it, else full]");
  app.add_option("--target", a->options.target, "Hardware to run on: cpu, opencl, cuda")
      ->capture_default_str();
  app.add_option("--device", a->options.device, "Which of the target's devices (see: quern doctor)")
      ->capture_default_str();
  app.add_option("--threads", a->options.threads, "Threads a kernel may use [all]")
      ->check(CLI::Range(1, 4096));
  app.add_option("--compiler", a->options.compiler, "g++, clang++, or the path of one")
      ->capture_default_str();
  app.add_option("--seed", a->options.seed, "Seed of the inputs' draw")->capture_default_str();
  app.add_option("--clock", a->options.clock, "steady, or simulated (for tests)")->group("");
}

}  // namespace

Action add_eval(CLI::App& app) {
  auto a = std::make_shared<EvalArguments>();
  auto lane = std::make_shared<LaneOptions>();
  add_common(app, a);
  app.add_option("CANDIDATE", a->first,
                 "Source of the kernel: C++ (docs/task_format.md), or device code with a\n"
                 "launch plan (docs/plan_format.md); a .py with ModelNew for a module file\n"
                 "(docs/torch_lane.md)");
  app.add_option("--protocol", lane->protocol,
                 "For a module file: strict, or kernelbench (their verdict beside ours)")
      ->check(CLI::IsMember({"strict", "kernelbench"}))
      ->capture_default_str();
  app.add_option("--baselines", lane->baselines,
                 "For a module file: eager, compile, max-autotune; with commas between")
      ->capture_default_str();
  app.add_option("--certify", lane->certify,
                 "For a module file: capture the launches of what passes into this folder, and\n"
                 "judge them as device code (docs/torch_lane.md)");
  app.add_flag("--stream", a->stream,
               "Read {\"id\", \"source\"} lines from stdin, write one evaluation a line");
  add_devices_option(app, a->devices);
  app.add_option("--guard", a->guard,
                 "CUDA: run candidates with checks of every access, trap and loop before their\n"
                 "first look: auto (when candidates fault often), always, never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  app.add_flag("!--no-speedup", a->speedup, "Do not time the baselines");
  return [a, lane, &app](const Context& context) {
    if (a->stream == !a->first.empty()) {
      return fail(context, {ErrorKind::kUsage, "give either a candidate file or --stream",
                            "see: quern eval --help"});
    }
    if (is_lane(a->task, a->first, a->stream)) {
      lane->module = a->task;
      lane->candidate = a->first;
      lane->device = app.count("--target") > 0 ? a->options.target : "";
      lane->seed = a->options.seed;
      lane->time_baselines = a->speedup;
      const Result<int> verdict = eval_in_lane(context, *lane);
      return verdict ? *verdict : fail(context, verdict.error());
    }
    if (a->stream) {
      a->devices = devices_to_use(a->devices, app.count("--device") > 0, a->options.target);
    }
    Result<int> code = a->stream ? eval_stream(context, *a) : eval(context, *a);
    return code ? *code : fail(context, code.error());
  };
}

Action add_compare(CLI::App& app) {
  auto a = std::make_shared<EvalArguments>();
  add_common(app, a);
  app.add_option("A", a->first, "Source of one kernel")->required();
  app.add_option("B", a->second, "Source of the other")->required();
  app.add_option("--repeat", a->repeat, "Run so many duels; prints them all as JSON")
      ->check(CLI::Range(1, 100000));
  return [a](const Context& context) {
    Result<int> code = compare(context, *a);
    return code ? *code : fail(context, code.error());
  };
}

}  // namespace quern::cli
