// SPDX-License-Identifier: Apache-2.0
#include "wiring.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/strings.h"
#include "base/suggest.h"
#include "codegen/prelude.h"
#include "cuda_tools.h"
#include "device/cpu/toolchain.h"
#include "device_wiring.h"
#include "evaluate/local_evaluator.h"
#include "interrupt.h"
#include "ir/counts.h"
#include "propose/rules_source.h"
#include "search/recipe_proposer.h"
#include "search/simulated_evaluator.h"
#include "search/sweep_proposer.h"

namespace quern::cli {
namespace {

bool pretends(const RunOptions& options) { return options.clock.starts_with("pretend"); }

/// "pretend:3" takes 3 ms for each evaluation.
std::unique_ptr<Evaluator> make_pretender(const RunOptions& options) {
  SimulatedEvaluator::Options simulated;
  simulated.seed = options.seed;
  size_t colon = options.clock.find(':');
  if (colon != std::string::npos) {
    simulated.delay_ms = std::strtod(options.clock.c_str() + colon + 1, nullptr);
  }
  return std::make_unique<SimulatedEvaluator>(simulated);
}

int threads_of(const RunOptions& options) {
  return options.threads > 0 ? options.threads : available_processors();
}

/// "0,1" as numbers; the one of the options for "", and nothing for "all".
Result<std::vector<int>> device_numbers(const std::string& devices, const RunOptions& options) {
  if (devices.empty()) return std::vector<int>{options.device};
  if (devices == "all") return std::vector<int>{};
  std::vector<int> numbers;
  for (const std::string& part : split(devices, ',')) {
    const bool digits = !part.empty() && part.size() < 5 &&
                        part.find_first_not_of("0123456789") == std::string::npos;
    const int number = digits ? std::stoi(part) : -1;
    if (number < 0 || std::ranges::find(numbers, number) != numbers.end()) {
      return Error{ErrorKind::kUsage, fmt::format("'{}' is not a list of devices", devices),
                   "numbers with commas between, each once (--devices 0,1), or all"};
    }
    numbers.push_back(number);
  }
  return numbers;
}

Result<std::unique_ptr<Evaluator>> make_on_opencl(const Context& context, const TaskAtSize& task,
                                                  const RunOptions& options,
                                                  std::vector<int> devices) {
  if (devices.empty()) {
    QUERN_ASSIGN(const std::vector<DeviceProperties> present, list_devices(context, "opencl"));
    for (size_t i = 0; i < present.size(); ++i) devices.push_back(static_cast<int>(i));
  }
  return make_opencl_evaluator(context, task, options, devices);
}

}  // namespace

std::string devices_to_use(const std::string& devices, bool one_given, const std::string& target) {
  if (!devices.empty() || one_given || target != "cuda") return devices;
  return "all";
}

void add_devices_option(CLI::App& app, std::string& devices) {
  app.add_option("--devices", devices,
                 "Spread the work over these devices: 0,1 or all [cuda: all of one model]");
}

CompilerOptions compiler_options(const Context& context, const std::string& compiler) {
  CompilerOptions options;
  options.cache_dir = context.cache_directory;
  options.compiler = compiler;
  options.prelude = cpu_prelude();
  options.headers = {{"quern_gemm.h", std::string(gemm_prelude())},
                     {"quern_recurrence.h", std::string(recurrence_prelude())}};
  options.threads = available_processors();
  // What is ours may take so long: the oracle of a deep network is a large source.
  options.deadline_s = 600;
  return options;
}

std::string peaks_path(const Context& context, int threads) {
  return fmt::format("{}/peaks-{}.json", context.cache_directory, threads);
}

Result<Peaks> machine_peaks(const Context& context, const CpuCompiler& compiler, int threads) {
  std::string path = peaks_path(context, threads);
  Result<Peaks> kept = load_peaks(path);
  if (kept && kept->cpu == this_processor().model && kept->threads == threads) return kept;
  say("measuring this machine's peaks, once: about two seconds\n");
  QUERN_ASSIGN(Peaks peaks, measure_peaks(compiler, threads));
  QUERN_TRY(save_peaks(peaks, path));
  return peaks;
}

Result<std::unique_ptr<Evaluator>> make_evaluator(const Context& context, const TaskAtSize& task,
                                                  const RunOptions& options,
                                                  const std::string& devices,
                                                  const std::string& guard) {
  const NothingToSave preparing;
  QUERN_ASSIGN(const std::vector<int> numbers, device_numbers(devices, options));
  if (pretends(options)) return make_pretender(options);
  if (options.clock != "steady" && options.clock != "simulated") {
    return Error{ErrorKind::kUsage, fmt::format("unknown clock '{}'", options.clock), ""};
  }
  if (options.target == "opencl") return make_on_opencl(context, task, options, numbers);
  if (options.target == "cuda") return make_cuda_evaluator(context, task, options, numbers, guard);
  if (options.target != "cpu") {
    return Error{ErrorKind::kUsage, fmt::format("unknown target '{}'", options.target),
                 "known: " + join(known_targets(), ", ")};
  }
  LocalEvaluator::Options local;
  local.compiler = compiler_options(context, options.compiler);
  local.threads = threads_of(options);
  local.seed = options.seed;
  local.clock = options.clock;
  QUERN_ASSIGN(std::unique_ptr<CpuCompiler> compiler, CpuCompiler::make(local.compiler));
  if (options.clock == "steady") {
    QUERN_ASSIGN(local.peaks, machine_peaks(context, *compiler, local.threads));
    local.environment = probe_machine(*compiler, local.threads, &local.peaks);
  } else {
    local.environment = probe_machine(*compiler, local.threads);
  }
  QUERN_ASSIGN(std::unique_ptr<LocalEvaluator> made,
               LocalEvaluator::make(task.program, task.sizes, std::move(local)));
  return std::unique_ptr<Evaluator>(std::move(made));
}

Result<std::unique_ptr<Proposer>> make_proposer(const TaskAtSize& task, const RunOptions& options,
                                                const Environment& environment,
                                                llm::Client* client) {
  if (pretends(options) && options.recipe_text.empty()) {
    return std::unique_ptr<Proposer>(
        std::make_unique<SweepProposer>(task.program.name, options.seed));
  }
  RulesMachine machine;
  // Those of the machine where the run began, wherever it is replayed.
  machine.threads = options.target == "cpu" || environment.multiprocessors == 0
                        ? environment.threads
                        : environment.multiprocessors;
  if (options.target == "opencl") machine.device = DeviceLanguage::kOpencl;
  if (options.target == "cuda") machine.device = DeviceLanguage::kCuda;
  const auto make_rules = [=](uint64_t seed) {
    return std::unique_ptr<Proposer>(
        std::make_unique<RulesSource>(task.program, task.sizes, machine, seed));
  };
  if (!options.recipe_text.empty()) {
    QUERN_ASSIGN(Recipe recipe, parse_recipe(options.recipe_text, options.recipe));
    QUERN_ASSIGN(Prompts prompts, options.prompts_text.empty()
                                      ? Prompts::make()
                                      : Prompts::parse(options.prompts_text));
    RecipeSetting setting = make_setting(task, options, environment);
    setting.rules = make_rules;
    return std::unique_ptr<Proposer>(std::make_unique<RecipeProposer>(
        std::move(recipe), std::move(setting), std::move(prompts), client));
  }
  return make_rules(options.seed);
}

RecipeSetting make_setting(const TaskAtSize& task, const RunOptions& options,
                           const Environment& environment) {
  RecipeSetting setting = recipe_setting(task.program);
  setting.model = options.model;
  setting.seed = options.seed;
  setting.hardware =
      fmt::format("{}, {} threads, {}, {}; {:.0f} GB/s copied, {:.0f} GFLOP/s of f32 multiply-adds",
                  environment.cpu, environment.threads, environment.isa, environment.compiler,
                  environment.copy_bandwidth_gbs, environment.fma_gflops);
  return setting;
}

const std::vector<std::string>& known_targets() {
  static const auto& targets = *new std::vector<std::string>{"cpu", "opencl", "cuda"};
  return targets;
}

std::string candidate_language(const std::string& target) {
  return target == "cpu" ? "c++" : target;
}

std::string recipe_name(const std::string& name) {
  return name.ends_with(".toml") ? std::filesystem::path(name).stem().string() : name;
}

Result<std::string> recipe_text(const std::string& name) {
  if (name.ends_with(".toml")) return read_file(name);
  const auto& known = built_in_recipes();
  if (auto found = known.find(name); found != known.end()) return found->second;
  std::vector<std::string> names = {"rules"};
  for (const auto& [key, text] : known) names.push_back(key);
  return Error{ErrorKind::kUsage, fmt::format("unknown recipe '{}'", name),
               suggest(name, names) + " (or give the path of a .toml file)"};
}

}  // namespace quern::cli
