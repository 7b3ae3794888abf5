// SPDX-License-Identifier: Apache-2.0
#include "evaluate/local_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "codegen/library_baselines.h"
#include "codegen/reference.h"
#include "evaluate/stages.h"
#include "evaluate/task_workloads.h"
#include "ir/counts.h"

namespace quern {
namespace {

/// Timed buffers up to this size are made before it is known that they will be needed.
constexpr size_t kEagerBytes = size_t{16} << 20;
/// A candidate may take so many times what the naive lowering takes to compile, and this at least.
constexpr double kTimesSlowerToCompile = 200;
constexpr double kLeastCompileS = 10;
/// Beyond it a candidate may take twice as long as the naive lowering.
constexpr double kMostCompileS = 60;
constexpr int64_t kLongReduction = int64_t{1} << 16;  // beyond it one f32 accumulator may not do
constexpr double kTrustedHangS = 300;  // a naive lowering may take long, and never hangs
constexpr uint64_t kNoLimit = uint64_t{1} << 40;

}  // namespace

/// A candidate with its binaries: one for all workloads, or one each when it is specialised.
struct LocalEvaluator::Built {
  std::string entry;
  std::optional<Verdict> verdict;  ///< set when there is nothing to run
  Build build;
  std::vector<Binary> binaries;     ///< for the first hidden workload … for the timed one
  std::optional<CompileJob> later;  ///< the build for the second hidden workload, if another
  bool trusted = false;
  double compile_ms = 0;
};

Work work_of(const ir::Program& program, const ir::Sizes& sizes, const Peaks& peaks) {
  const ir::Counts counts = ir::count(program, sizes);
  Work work;
  work.flops = counts.flops;
  work.bytes = counts.bytes_in + counts.bytes_out;
  const double bandwidth = peaks.bandwidth_gbs(static_cast<int64_t>(work.bytes));
  const double memory_ns = bandwidth > 0 ? work.bytes / bandwidth : 0;
  const double arithmetic_ns = peaks.fma_gflops > 0 ? work.flops / peaks.fma_gflops : 0;
  work.floor_ns = std::max(memory_ns, arithmetic_ns);
  work.bound = memory_ns >= arithmetic_ns ? kMemoryBound : "arithmetic";
  return work;
}

LocalEvaluator::LocalEvaluator(const ir::Program& program, const ir::Sizes& sizes, Options options)
    : program_(program), sizes_(sizes), options_(std::move(options)) {}

Result<std::unique_ptr<LocalEvaluator>> LocalEvaluator::make(const ir::Program& program,
                                                             const ir::Sizes& sizes,
                                                             Options options) {
  if (options.threads <= 0) options.threads = std::max(1, options.environment.threads);
  std::unique_ptr<LocalEvaluator> self(new LocalEvaluator(program, sizes, std::move(options)));
  const Options& use = self->options_;
  QUERN_ASSIGN(self->compiler_, CpuCompiler::make(use.compiler));
  QUERN_ASSIGN(TaskWorkloads workloads,
               make_workloads(program, sizes, use.seed, *self->compiler_, use.threads));
  const double naive_s = workloads.naive_compile_ms * 1e-3;
  self->compile_deadline_s_ = std::clamp(std::ceil(kTimesSlowerToCompile * naive_s), kLeastCompileS,
                                         std::max(kMostCompileS, std::ceil(2 * naive_s)));
  self->hidden_ = std::move(workloads.hidden);
  self->timed_ = std::move(workloads.timed);
  self->work_ = work_of(program, sizes, use.peaks);
  return self;
}

int LocalEvaluator::timed_slots() const {
  return quern::timed_slots(ir::io_bytes(program_, sizes_));
}

bool LocalEvaluator::timed_is_small() const {
  return timed_slots() * ir::io_bytes(program_, sizes_) <= static_cast<double>(kEagerBytes);
}

KernelLimits LocalEvaluator::limits(bool trusted) const {
  KernelLimits limits;
  limits.threads = options_.threads;
  const double buffers = ir::io_bytes(program_, sizes_);
  limits.memory_bytes =
      trusted ? kNoLimit
              : std::max<uint64_t>(options_.memory_bytes, static_cast<uint64_t>(4 * buffers));
  return limits;
}

/// `warm`: the first of them is evaluated next.
Result<std::vector<LocalEvaluator::Built>> LocalEvaluator::build(
    const std::vector<Candidate>& candidates, bool warm) {
  std::vector<Built> all(candidates.size());
  std::vector<CompileJob> jobs;
  std::vector<std::pair<size_t, size_t>> ranges(candidates.size());  // into jobs: first, count
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& candidate = candidates[i];
    ranges[i] = {jobs.size(), 0};
    const auto plan = parse_plan(candidate.source, program_.name);
    if (!plan) {
      all[i].verdict = CompileFailed{"the plan lines are not valid", plan.error().message};
      continue;
    }
    all[i].entry = plan->entry;
    all[i].trusted = trusted_.contains(candidate.id);
    CompileJob job;
    job.source = candidate.source;
    job.trusted = all[i].trusted;
    if (job.trusted) job.libraries = plan->libraries;
    if (!job.trusted) job.deadline_s = compile_deadline_s_;
    if (!plan->specialize) {
      jobs.push_back(job);
    } else {
      job.macros = size_macros(program_, hidden_.front().sizes);
      jobs.push_back(job);
      job.macros = size_macros(program_, sizes_);
      jobs.push_back(job);
      job.macros = size_macros(program_, hidden_.back().sizes);
      all[i].later = job;
    }
    ranges[i].second = jobs.size() - ranges[i].first;
  }
  std::vector<Outcome<Binary>> outcomes;
  std::thread compiling([&] { outcomes = compiler_->compile_all(jobs); });
  Result<void> warmed = warm && !all.front().trusted ? warm_up() : Result<void>();
  compiling.join();
  QUERN_TRY(std::move(warmed));
  for (size_t i = 0; i < candidates.size(); ++i) {
    Built& built = all[i];
    for (size_t j = ranges[i].first; j < ranges[i].first + ranges[i].second; ++j) {
      const auto& outcome = outcomes[j];
      if (outcome.has_error()) return outcome.error();
      if (outcome.has_verdict()) {
        built.verdict = outcome.verdict();
        continue;
      }
      built.binaries.push_back(outcome.value());
      built.build = outcome.value().build;
      built.compile_ms += built.build.cached ? 0 : built.build.compile_ms;
    }
  }
  return all;
}

Result<std::vector<Evaluation>> LocalEvaluator::evaluate(const std::vector<Candidate>& candidates,
                                                         const EvaluateRequest& request) {
  std::vector<Built> built;
  BatchStages stages;
  stages.prepare = [&](const std::vector<Candidate>& fresh) -> Result<void> {
    QUERN_ASSIGN(built, build(fresh, true));
    return {};
  };
  stages.evaluate = [&](const Candidate& candidate, size_t index) {
    return evaluate_built(candidate, built[index], request.incumbent_ns);
  };
  return evaluate_batch(candidates, request, cache_, stages);
}

Result<Evaluation> LocalEvaluator::evaluate_built(const Candidate& candidate, const Built& built,
                                                  double incumbent_ns) {
  Evaluation evaluation;
  evaluation.candidate_id = candidate.id;
  evaluation.build = built.build;
  evaluation.stages_ms["compile"] = built.compile_ms;
  const int64_t start = steady_now_ns();
  if (built.verdict) {
    evaluation.verdict = *built.verdict;
  } else {
    const auto judged = judge(built, incumbent_ns, evaluation);
    const auto floor = [&](double median_ns) { return weigh(median_ns, evaluation); };
    QUERN_TRY(record_judged(judged, candidate, options_.clock, floor, evaluation));
  }
  record_times(start, built.compile_ms, evaluation);
  return evaluation;
}

/// Sets the time against the physics floor. The floor rests on our own measurement of the machine,
/// perhaps taken beside a busy neighbour: before the first alarm it is measured again.
Result<void> LocalEvaluator::weigh(double median_ns, Evaluation& evaluation) {
  if (beats_floor(median_ns, work_) && !peaks_doubted_) {
    peaks_doubted_ = true;
    QUERN_ASSIGN(const Peaks again, measure_peaks(*compiler_, options_.threads));
    options_.peaks = best_of(again, options_.peaks);
    work_ = work_of(program_, sizes_, options_.peaks);
  }
  weigh_time(median_ns, work_, evaluation);
  return {};
}

Outcome<Passed> LocalEvaluator::judge(const Built& built, double incumbent_ns,
                                      Evaluation& evaluation) {
  const int64_t start = steady_now_ns();
  // What candidates left is too large to lie beside our own.
  if (built.trusted && !timed_is_small()) timed_memory_ = {};
  // Small processes start beside each other; large buffers are made only for what may be right.
  std::optional<Result<LoadedKernel>> timed;
  auto small = begin_hidden(built, built.binaries.front(), hidden_.front());
  if (small && timed_is_small()) timed.emplace(begin_timed(built, &timed_memory_));
  auto hidden = verify_hidden(std::move(small), evaluation);
  if (hidden && !timed) timed.emplace(begin_timed(built, &timed_memory_));
  auto kernel = hidden ? start_timed(std::move(*timed)) : Outcome<LoadedKernel>(pass_on(hidden));
  auto call_ns =
      kernel ? verify_timed(*kernel, built.trusted, evaluation) : Outcome<double>(pass_on(kernel));
  evaluation.stages_ms["verify"] = ms_since(start);
  if (!kernel) return pass_on(kernel);
  evaluation.notes = kernel->notes();
  if (!call_ns) {
    evaluation.stages_ms["kernel"] += kernel->kernel_ns() * 1e-6;
    return pass_on(call_ns);
  }
  const auto near_record = [&](double ns) {
    return incumbent_ns <= 0 || ns < kNearRecord * incumbent_ns;
  };
  std::optional<Result<LoadedKernel>> second;
  if (!built.later && near_record(*call_ns)) {
    second.emplace(begin_hidden(built, built.binaries.front(), hidden_.back()));
  }
  Passed passed;
  passed.level = level_of(evaluation.checks);
  if (options_.clock != "simulated") {
    const int64_t timing_start = steady_now_ns();
    auto timing = take_time(*kernel, *call_ns, incumbent_ns, options_.timing, options_.seed);
    evaluation.stages_ms["time"] = ms_since(timing_start);
    evaluation.stages_ms["kernel"] += kernel->kernel_ns() * 1e-6;
    if (!timing) return pass_on(timing);
    passed.timing = *timing;
  }
  if (near_record(passed.timing.median_ns)) {
    auto verified = verify_second(built, std::move(second), evaluation);
    if (!verified) return pass_on(verified);
  }
  passed.method = method_of(evaluation.checks, passed.level);
  return passed;
}

/// The second hidden shape: a specialised candidate is built for it only now.
Outcome<Done> LocalEvaluator::verify_second(const Built& built,
                                            std::optional<Result<LoadedKernel>> begun,
                                            Evaluation& evaluation) {
  if (begun) return verify_hidden(std::move(*begun), evaluation);
  if (!built.later) {
    return verify_hidden(begin_hidden(built, built.binaries.front(), hidden_.back()), evaluation);
  }
  auto binary = compiler_->compile(*built.later);
  if (!binary) return pass_on(binary);
  if (!binary->build.cached) evaluation.stages_ms["compile"] += binary->build.compile_ms;
  return verify_hidden(begin_hidden(built, *binary, hidden_.back()), evaluation);
}

LoadedKernel::Options LocalEvaluator::kernel_options(bool trusted) const {
  LoadedKernel::Options options;
  options.limits = limits(trusted);
  options.trusted = trusted;
  options.hang_s = trusted ? kTrustedHangS : options_.hang_s;
  return options;
}

/// Every data set of a hidden shape gets a slot of its own between guard pages.
LoadedKernel::Options LocalEvaluator::hidden_options(const Workload& hidden, bool trusted) {
  LoadedKernel::Options options = kernel_options(trusted);
  options.slots = static_cast<int>(hidden.datasets.size());
  options.align = Align::kRight;
  // Ours may not wait where candidates' do: other filters.
  if (!trusted) options.memory = &hidden_memory_[&hidden == &hidden_.front() ? 0 : 1];
  return options;
}

LoadedKernel::Options LocalEvaluator::timed_options(bool trusted) const {
  LoadedKernel::Options options = kernel_options(trusted);
  options.slots = timed_slots();
  return options;
}

/// Starts the processes of the next candidate: they get ready while it is compiled.
Result<void> LocalEvaluator::warm_up() {
  for (const Workload& hidden : hidden_) {
    QUERN_TRY(LoadedKernel::warm_up(program_, hidden, hidden_options(hidden, false)));
  }
  if (!timed_is_small() && timed_memory_.process == nullptr) return {};
  LoadedKernel::Options options = timed_options(false);
  options.memory = &timed_memory_;
  return LoadedKernel::warm_up(program_, timed_, options);
}

Result<LoadedKernel> LocalEvaluator::begin_hidden(const Built& built, const Binary& binary,
                                                  const Workload& hidden) {
  return LoadedKernel::begin(program_, hidden, binary, built.entry,
                             hidden_options(hidden, built.trusted));
}

Outcome<Done> LocalEvaluator::verify_hidden(Result<LoadedKernel> kernel, Evaluation& evaluation) {
  if (!kernel) return kernel.error();
  if (auto ready = kernel->ready(); !ready) return ready;
  return quern::verify_hidden(*kernel, evaluation);
}

Result<LoadedKernel> LocalEvaluator::begin_timed(const Built& built, KernelMemory* memory) const {
  LoadedKernel::Options options = timed_options(built.trusted);
  options.memory = built.trusted ? nullptr : memory;
  return LoadedKernel::begin(program_, timed_, built.binaries.back(), built.entry, options);
}

Outcome<LoadedKernel> LocalEvaluator::start_timed(Result<LoadedKernel> kernel) {
  if (!kernel) return kernel.error();
  if (auto ready = kernel->ready(); !ready) return pass_on(ready);
  return std::move(*kernel);
}

Result<Duel> LocalEvaluator::duel(const Candidate& candidate, const Candidate& baseline) {
  if (options_.clock == "simulated") return hashed_duel(candidate, baseline);
  QUERN_ASSIGN(const std::vector<Built> built, build({candidate, baseline}, false));
  timed_memory_ = {};  // each side of a duel makes its own, anew each round
  Contender contenders[2] = {{"the candidate", {}}, {"the baseline", {}}};
  for (size_t side = 0; side < 2; ++side) {
    contenders[side].start = [this,
                              &mine = built[side]]() -> Outcome<std::unique_ptr<RunnableKernel>> {
      if (mine.verdict) return *mine.verdict;
      auto kernel = start_timed(begin_timed(mine, nullptr));
      if (!kernel) return pass_on(kernel);
      for (int slot = 0; slot < kernel->slots(); ++slot) kernel->load(slot, 0);
      return std::unique_ptr<RunnableKernel>(
          std::make_unique<LoadedKernel>(std::move(kernel.value())));
    };
  }
  auto duel =
      duel_kernels(contenders[0], contenders[1], options_.timing, options_.duel, options_.seed);
  if (!duel) return duel;
  duel->baseline = baseline_name(baseline);
  return std::move(*duel);
}

Result<std::vector<Candidate>> LocalEvaluator::baselines() {
  std::vector<Candidate> all;
  const auto add = [&](std::string source, const std::string& name) {
    all.push_back(make_candidate(std::move(source), "baseline"));
    all.back().note = name;
    trusted_.insert(all.back().id);
  };
  add(emit_naive(program_), "naive");
  if (longest_reduction(program_, sizes_) >= kLongReduction) {
    add(emit_naive_wide(program_), "naive-wide");
  }
  for (BaselineSource& library : library_baselines(program_, sizes_)) {
    add(std::move(library.source), library.name);
  }
  return all;
}

}  // namespace quern
