// SPDX-License-Identifier: Apache-2.0
#include "wiring.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "codegen/prelude.h"
#include "device/cpu/machine.h"
#include "evaluate/local_evaluator.h"
#include "search/simulated_evaluator.h"
#include "search/sweep_proposer.h"

namespace quern::cli {

namespace {

Result<std::unique_ptr<Evaluator>> simulated_evaluator(const RunOptions& options) {
  SimulatedEvaluator::Options simulated;
  simulated.seed = options.seed;
  size_t colon = options.clock.find(':');
  if (colon != std::string::npos) {
    simulated.delay_ms = std::strtod(options.clock.c_str() + colon + 1, nullptr);
  }
  return std::unique_ptr<Evaluator>(std::make_unique<SimulatedEvaluator>(simulated));
}

/// The peaks kept from the last measurement of this machine, or fresh ones.
Result<Peaks> peaks_of_machine(const Context& context, const CpuCompiler& compiler, int threads) {
  const std::string path = fmt::format("{}/peaks-{}.json", context.cache_directory, threads);
  if (auto kept = load_peaks(path)) return std::move(kept).value();
  say("measuring this machine's bandwidth and arithmetic peaks (once) …\n");
  QUERN_ASSIGN(Peaks peaks, measure_peaks(compiler, threads));
  if (auto saved = save_peaks(peaks, path); !saved) say(saved.error().message + "\n");
  return peaks;
}

}  // namespace

CompilerOptions compiler_options(const Context& context) {
  CompilerOptions options;
  options.cache_dir = context.cache_directory + "/build";
  options.prelude = std::string(cpu_prelude());
  options.headers = {{"quern_gemm.h", std::string(gemm_prelude())}};
  options.threads = available_processors();
  return options;
}

Result<std::unique_ptr<LocalEvaluator>> make_local_evaluator(const Context& context,
                                                             const TaskAtSize& task,
                                                             const RunOptions& options) {
  LocalEvaluator::Options local;
  local.compiler = compiler_options(context);
  local.threads = options.threads > 0 ? options.threads : available_processors();
  local.seed = options.seed;
  local.clock = options.clock == "deterministic" ? "deterministic" : "steady";
  QUERN_ASSIGN(const auto compiler, CpuCompiler::make(local.compiler));
  QUERN_ASSIGN(local.peaks, peaks_of_machine(context, *compiler, local.threads));
  local.environment = probe_machine(*compiler, local.threads, &local.peaks);
  return LocalEvaluator::make(task.program, task.sizes, std::move(local));
}

Result<std::unique_ptr<Evaluator>> make_evaluator(const Context& context, const TaskAtSize& task,
                                                  const RunOptions& options) {
  if (options.clock.starts_with("simulated")) return simulated_evaluator(options);
  QUERN_ASSIGN(auto local, make_local_evaluator(context, task, options));
  return std::unique_ptr<Evaluator>(std::move(local));
}

Result<std::unique_ptr<Proposer>> make_proposer(const TaskAtSize& task, const RunOptions& options) {
  return std::unique_ptr<Proposer>(
      std::make_unique<SweepProposer>(task.program.name, options.seed));
}

std::vector<std::string> recipe_names() { return {"rules"}; }

}  // namespace quern::cli
