// SPDX-License-Identifier: Apache-2.0
#include "evaluate/local_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "codegen/library_baselines.h"
#include "codegen/reference.h"
#include "ir/check.h"
#include "ir/counts.h"

namespace quern {
namespace {

/// Buffers of the timed slots together; more slots make small tasks harder to memoise.
constexpr size_t kSlotBytes = size_t{64} << 20;
constexpr int kMostSlots = 4;
/// Timed buffers up to this size are made before it is known that they will be needed.
constexpr size_t kEagerBytes = size_t{16} << 20;
/// A candidate this close to the incumbent is verified on the second hidden shape too.
constexpr double kNearRecord = 1.1;
constexpr double kFloorAlarm = 0.9;
constexpr const char* kTimedShape = "timed shape";
constexpr const char* kMemoryBound = "memory bandwidth";
/// A candidate may take so many times what the naive lowering takes to compile, and this at least.
constexpr double kTimesSlowerToCompile = 200;
constexpr double kLeastCompileS = 10;
constexpr double kTrustedHangS = 300;  // a naive lowering may take long, and never hangs
constexpr uint64_t kNoLimit = uint64_t{1} << 40;

double ms_since(int64_t start_ns) { return seconds_between(start_ns, steady_now_ns()) * 1e3; }

/// A number in [0, 1) that depends on the text alone.
double hash_unit(const std::string& text) {
  return static_cast<double>(std::stoull(sha256_hex(text).substr(0, 13), nullptr, 16)) * 0x1p-52;
}

/// The deterministic clock of tests: a time that depends on the source alone.
Timing hashed_timing(const Candidate& candidate) {
  Timing timing;
  timing.median_ns = 1e6 * (0.2 + hash_unit(candidate.id));
  timing.low_ns = timing.high_ns = timing.median_ns;
  timing.samples_ns = {timing.median_ns};
  timing.clock = "simulated";
  return timing;
}

std::vector<std::pair<std::string, int64_t>> size_macros(const ir::Program& program,
                                                         const ir::Sizes& sizes) {
  std::vector<std::pair<std::string, int64_t>> macros;
  for (const std::string& name : program.free_sizes()) {
    macros.emplace_back("QUERN_SIZE_" + name, sizes.at(name));
  }
  return macros;
}

/// The highest level that a check at the timed shape speaks for.
std::string level_of(const std::vector<Check>& checks) {
  std::string level = checks.empty() ? "V0" : "V1";
  for (const Check& check : checks) {
    if (check.name.starts_with(kTimedShape) && check.level == "V2") level = "V2";
  }
  return level;
}

std::string method_of(const std::vector<Check>& checks, const std::string& level) {
  const auto exact = std::ranges::count_if(checks, [](const Check& c) { return c.level == "V2"; });
  std::string text = fmt::format("{} comparisons with the f64 oracle within the rounding bound",
                                 checks.size() - static_cast<size_t>(exact));
  if (level == "V2") text += fmt::format(", {} exact probes bit for bit", exact);
  return text + ", two runs bitwise equal, outputs of timed launches checked";
}

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
  QUERN_TRY(ir::check_sizes(program, sizes));
  const double needed = evaluation_bytes(program, sizes);
  const double available = available_memory_bytes();
  if (needed > available) {
    return Error{
        ErrorKind::kEnvironment,
        fmt::format("{} at {} needs about {:.1f} GiB of memory to evaluate; {:.1f} GiB are "
                    "available",
                    program.name, sizes_name(program, sizes), needed / (1 << 30),
                    available / (1 << 30)),
        "Choose a smaller size set with --size."};
  }
  if (options.threads <= 0) options.threads = std::max(1, options.environment.threads);
  std::unique_ptr<LocalEvaluator> self(new LocalEvaluator(program, sizes, std::move(options)));
  const Options& use = self->options_;
  QUERN_ASSIGN(self->compiler_, CpuCompiler::make(use.compiler));
  QUERN_ASSIGN(const Oracle oracle, Oracle::make(program, *self->compiler_, use.threads));
  CompileJob job;
  job.source = emit_naive(program);
  job.trusted = true;
  auto naive = self->compiler_->compile(job);
  if (naive.has_error()) return naive.error();
  if (naive.has_verdict()) {
    return Error{ErrorKind::kInternal,
                 "the naive lowering does not compile: " + verdict_evidence(naive.verdict()), ""};
  }
  self->compile_deadline_s_ =
      std::max(kLeastCompileS, std::ceil(kTimesSlowerToCompile * naive->build.compile_ms * 1e-3));
  const WorkloadMaker maker{program, oracle, *naive, use.threads};
  for (const int64_t smallest : {3, 1}) {
    const uint64_t stream = smallest == 3 ? 1 : 2;
    QUERN_ASSIGN(Workload hidden, maker.hidden(mix_seed(use.seed, stream), smallest));
    self->hidden_.push_back(std::move(hidden));
  }
  QUERN_ASSIGN(self->timed_,
               maker.timed(sizes, mix_seed(use.seed, 3), probe_level_of(self->hidden_.front())));
  self->work_ = work_of(program, sizes, use.peaks);
  return self;
}

int LocalEvaluator::timed_slots() const {
  const auto bytes = static_cast<size_t>(ir::io_bytes(program_, sizes_)) + 1;
  return static_cast<int>(std::clamp<size_t>(kSlotBytes / bytes, 1, kMostSlots));
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
  const Result<void> warmed = warm && !all.front().trusted ? warm_up() : Result<void>();
  compiling.join();
  QUERN_TRY(warmed);
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
  std::vector<Candidate> fresh;
  for (const Candidate& candidate : candidates) {
    if (!cache_.contains(candidate.id)) fresh.push_back(candidate);
  }
  std::vector<Built> built;
  if (!fresh.empty()) {
    QUERN_ASSIGN(built, build(fresh, true));
  }
  std::vector<Evaluation> evaluations;
  size_t next_built = 0;
  for (const Candidate& candidate : candidates) {
    if (request.stop && request.stop()) break;
    const auto known = cache_.find(candidate.id);
    const bool was_fresh = next_built < fresh.size() && fresh[next_built].id == candidate.id;
    const Built* mine = was_fresh ? &built[next_built++] : nullptr;
    if (known != cache_.end()) {
      const int64_t start = steady_now_ns();
      evaluations.push_back(known->second);
      evaluations.back().cached = true;
      evaluations.back().stages_ms = {{"total", ms_since(start)}};
    } else {
      QUERN_CHECK(mine != nullptr, "a candidate was neither cached nor built");
      QUERN_ASSIGN(Evaluation evaluation, evaluate_built(candidate, *mine, request.incumbent_ns));
      cache_[candidate.id] = evaluation;
      evaluations.push_back(std::move(evaluation));
    }
    if (request.done) request.done(evaluations.size() - 1, evaluations.back());
  }
  return evaluations;
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
    auto judged = judge(built, incumbent_ns, evaluation);
    if (judged.has_error()) return judged.error();
    if (judged.has_verdict()) evaluation.verdict = judged.verdict();
    if (judged) {
      if (options_.clock == "simulated") judged->timing = hashed_timing(candidate);
      if (options_.clock != "simulated") {
        QUERN_TRY(weigh(judged->timing.median_ns, evaluation));
      }
      evaluation.verdict = *judged;
    }
  }
  const double run_ms = ms_since(start);
  evaluation.stages_ms["total"] = run_ms + built.compile_ms;
  evaluation.stages_ms["overhead"] = run_ms - evaluation.stages_ms["kernel"];
  return evaluation;
}

/// Sets the time against the physics floor. The floor rests on our own measurement of the machine,
/// perhaps taken beside a busy neighbour: before the first alarm it is measured again.
Result<void> LocalEvaluator::weigh(double median_ns, Evaluation& evaluation) {
  if (work_.floor_ns <= 0 || median_ns <= 0) return {};
  if (median_ns < kFloorAlarm * work_.floor_ns && !peaks_doubted_) {
    peaks_doubted_ = true;
    QUERN_ASSIGN(const Peaks again, measure_peaks(*compiler_, options_.threads));
    options_.peaks = best_of(again, options_.peaks);
    work_ = work_of(program_, sizes_, options_.peaks);
  }
  evaluation.roofline = work_.floor_ns / median_ns;
  if (median_ns < kFloorAlarm * work_.floor_ns && work_.bound == kMemoryBound) {
    evaluation.alarm =
        fmt::format("faster than the physics floor of {:.0f} ns ({}): not a record until explained",
                    work_.floor_ns, work_.bound);
  }
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
    auto timing = take_time(*kernel, *call_ns, incumbent_ns);
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

/// All data sets of a hidden shape, twice.
Outcome<Done> LocalEvaluator::verify_hidden(Result<LoadedKernel> kernel, Evaluation& evaluation) {
  if (!kernel) return kernel.error();
  if (auto ready = kernel->ready(); !ready) return ready;
  const int slots = kernel->slots();
  std::vector<std::byte> first;
  for (int round = 0; round < 2; ++round) {
    if (round > 0) kernel->poison();
    auto ran = kernel->run(slots);
    evaluation.stages_ms["kernel"] += ran ? *ran * 1e-6 : 0;
    if (!ran) return pass_on(ran);
    if (round == 0) {
      auto checked = kernel->verify(slots, "hidden shape", &evaluation.checks);
      if (!checked) return checked;
      first = kernel->outputs(slots);
    }
  }
  if (first != kernel->outputs(slots)) {
    return Verdict(WrongResult{"two runs on the same inputs differ",
                               "on " + kernel->workload().name +
                                   ": results depend on timing, on memory that "
                                   "was never written, or on state kept between calls"});
  }
  return Done{};
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

/// Every data set of the timed shape through the first slot, so that the same addresses hold other
/// numbers each time; the time of the last call. The twin stays unseen until timed launches.
Outcome<double> LocalEvaluator::verify_timed(LoadedKernel& kernel, bool trusted,
                                             Evaluation& evaluation) {
  double call_ns = 0;
  for (int data = static_cast<int>(timed_.datasets.size()); data-- > 0;) {
    if (data == timed_.twin || (trusted && data > 0)) continue;
    kernel.load(0, data);
    kernel.poison(0);
    auto ran = kernel.run(1);  // begins with slot 0
    if (!ran) return ran;
    call_ns = *ran;
    auto checked = kernel.verify(1, kTimedShape, &evaluation.checks);
    if (!checked) return pass_on(checked);
  }
  return call_ns;
}

Outcome<Timing> LocalEvaluator::take_time(LoadedKernel& kernel, double call_ns,
                                          double incumbent_ns) {
  // Every slot starts from the declared distribution; its twin is first seen in timed launches.
  for (int slot = 0; slot < kernel.slots(); ++slot) {
    kernel.load(slot, 0);
  }
  return time_kernel(kernel, call_ns, incumbent_ns, options_.timing, options_.seed);
}

Result<Duel> LocalEvaluator::duel(const Candidate& candidate, const Candidate& baseline) {
  if (options_.clock == "simulated") return hashed_duel(candidate, baseline);
  QUERN_ASSIGN(const std::vector<Built> built, build({candidate, baseline}, false));
  timed_memory_ = {};  // each side of a duel makes its own, anew each round
  Contender contenders[2] = {{"the candidate", {}}, {"the baseline", {}}};
  for (size_t side = 0; side < 2; ++side) {
    contenders[side].start = [this, &mine = built[side]]() -> Outcome<LoadedKernel> {
      if (mine.verdict) return *mine.verdict;
      auto kernel = start_timed(begin_timed(mine, nullptr));
      for (int slot = 0; kernel && slot < kernel->slots(); ++slot) kernel->load(slot, 0);
      return kernel;
    };
  }
  auto duel =
      duel_kernels(contenders[0], contenders[1], options_.timing, options_.duel, options_.seed);
  if (!duel) return duel;
  duel->baseline = baseline.note.empty() ? baseline.id : baseline.note;
  return std::move(*duel);
}

Result<Duel> LocalEvaluator::hashed_duel(const Candidate& candidate,
                                         const Candidate& baseline) const {
  Duel duel;
  duel.candidate_ns = {hashed_timing(candidate).median_ns};
  duel.baseline_ns = {hashed_timing(baseline).median_ns};
  duel.speedup = duel.low = duel.high = duel.baseline_ns[0] / duel.candidate_ns[0];
  duel.rounds = duel.pairs = 1;
  duel.different = duel.speedup != 1;
  duel.baseline = baseline.note.empty() ? baseline.id : baseline.note;
  return duel;
}

Result<std::vector<Candidate>> LocalEvaluator::baselines() {
  std::vector<Candidate> all;
  const auto add = [&](std::string source, const std::string& name) {
    all.push_back(make_candidate(std::move(source), "baseline"));
    all.back().note = name;
    trusted_.insert(all.back().id);
  };
  add(emit_naive(program_), "naive");
  for (BaselineSource& library : library_baselines(program_, sizes_)) {
    add(std::move(library.source), library.name);
  }
  return all;
}

}  // namespace quern
