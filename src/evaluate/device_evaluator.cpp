// SPDX-License-Identifier: Apache-2.0
#include "evaluate/device_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>

#include "base/clock.h"
#include "base/hash.h"
#include "device/device_protocol.h"
#include "evaluate/cache_hints.h"
#include "evaluate/device_evaluator_built.h"
#include "evaluate/task_workloads.h"
#include "ir/counts.h"
#include "tensor/fill.h"
#include "verify/plan_workload.h"

namespace quern {
namespace {

constexpr double kTrustedHangS = 300;  // a naive lowering may take long, and never hangs
constexpr double kMostSlots = 16;
constexpr int kAttempts = 2;  // at judging, where a worker fails us

Verdict bad_plan(const Error& error) {
  return LaunchFailed{"the launch plan: " + error.message, error.hint};
}

std::set<std::string> launched_kernels(const BoundPlan& plan) {
  std::set<std::string> names;
  for (const BoundStep& step : plan.steps) {
    if (const auto* launch = std::get_if<BoundLaunch>(&step)) names.insert(launch->kernel);
  }
  return names;
}

/// A plan whose launches are all of one kernel needs no name for it, where `images` have a symbol
/// of that name: a plan may also ask for a kernel that is not there.
BoundPlan without_names(BoundPlan plan, const std::map<const Workload*, std::string>& images) {
  const std::set<std::string> names = launched_kernels(plan);
  const std::string symbol =
      names.empty() ? "" : std::string(1, '\0') + *names.begin() + std::string(1, '\0');
  const bool known = names.size() == 1 && std::ranges::all_of(images, [&](const auto& image) {
                       return image.second.find(symbol) != std::string::npos;
                     });
  for (BoundStep& step : plan.steps) {
    auto* launch = std::get_if<BoundLaunch>(&step);
    if (launch != nullptr && known) launch->kernel.clear();
  }
  for (BoundScratch& scratch : plan.scratch) scratch.name.clear();
  for (BoundTensorMap& map : plan.maps) map.name.clear();
  return plan;
}

/// Sets of buffers that calls take in turn: together twice as large as the device's cache, so that
/// no call finds its inputs there because the one before it left them.
int slots_on(const DeviceProperties& device, double io_bytes) {
  if (device.cache_bytes == 0 || device.shares_host) return timed_slots(io_bytes);
  const double wanted = 2 * static_cast<double>(device.cache_bytes) / std::max(io_bytes, 1.0);
  return static_cast<int>(std::clamp(std::ceil(wanted), 1.0, kMostSlots));
}

}  // namespace

Result<std::unique_ptr<DeviceEvaluator>> DeviceEvaluator::make(const ir::Program& program,
                                                               const ir::Sizes& sizes,
                                                               Options options) {
  QUERN_CHECK(options.compiler != nullptr, "a device evaluator needs a compiler");
  if (options.threads <= 0) options.threads = std::max(1, options.environment.threads);
  std::unique_ptr<DeviceEvaluator> self(new DeviceEvaluator(program, sizes, std::move(options)));
  const Options& use = self->options_;
  QUERN_ASSIGN(self->sessions_, DeviceSessions::make(use.worker, use.spares));
  QUERN_TRY(self->make_tests());
  const DeviceProperties& device = self->sessions_->properties();
  self->options_.environment.device =
      fmt::format("{} ({}, driver {})", device.name, device.platform, device.driver);
  self->options_.environment.multiprocessors = device.compute_units;
  return self;
}

Contract DeviceEvaluator::contract() const {
  return contract_on(program_, options_.target == PlanTarget::kCuda ? ScheduleTarget::kCuda
                                                                    : ScheduleTarget::kDevice);
}

Result<void> DeviceEvaluator::make_tests() {
  const DeviceProperties& device = sessions_->properties();
  const bool here = device.draws && device.compares && !device.shares_host &&
                    !options_.compare_header.empty() && !options_.naive.empty();
  QUERN_ASSIGN(const auto compiler, CpuCompiler::make(options_.host_compiler));
  const auto make = [&](bool timed) {
    return make_workloads(program_, sizes_, options_.seed, *compiler, options_.threads, timed,
                          contract());
  };
  QUERN_ASSIGN(TaskWorkloads made, make(!here));
  hidden_ = std::move(made.hidden);
  timed_ = std::move(made.timed);
  if (!here) return {};
  auto drawn = draw_timed(probe_level_of(hidden_.front()));
  if (drawn) {
    timed_ = std::move(*drawn);
    return {};
  }
  timed_oracle_.reset();
  oracle_note_ = "the timed shape is judged on the host: " + drawn.error().message;
  QUERN_ASSIGN(made, make(true));
  hidden_ = std::move(made.hidden);
  timed_ = std::move(made.timed);
  return {};
}

std::optional<Verdict> DeviceEvaluator::read_plan(const Candidate& candidate, Built& built) const {
  const PlanWorkload task = plan_workload(program_, sizes_);
  auto plan = parse_launch_plan(candidate.source, task, options_.target);
  if (!plan) {
    return CompileFailed{"the plan lines are not valid",
                         plan.error().message + "\n" + plan.error().hint};
  }
  if (!plan_runs_on(plan->target, options_.target)) {
    return CompileFailed{
        fmt::format("the source is for {}, and this device takes {}",
                    plan_target_name(plan->target), plan_target_name(options_.target)),
        "see: // quern: target"};
  }
  built.plan = std::move(*plan);
  return std::nullopt;
}

DeviceCompileJob DeviceEvaluator::job_for(const Built& built, const Candidate& candidate,
                                          const ir::Sizes& sizes) const {
  DeviceCompileJob job;
  job.source = candidate.source;
  job.headers = options_.headers;
  if (built.plan.specialize) job.macros = size_macros(program_, sizes);
  job.fast_math = built.plan.fast_math;
  job.max_registers = built.plan.max_registers;
  return job;
}

Result<std::vector<DeviceEvaluator::Built>> DeviceEvaluator::build(
    const std::vector<Candidate>& candidates) {
  std::vector<Built> all(candidates.size());
  std::vector<DeviceCompileJob> jobs;
  std::vector<std::pair<size_t, const Workload*>> owners;  // of the jobs
  for (size_t i = 0; i < candidates.size(); ++i) {
    Built& built = all[i];
    if (candidates[i].id == library_id_) {
      built = library_built();
      continue;
    }
    built.trusted = trusted_.contains(candidates[i].id);
    built.verdict = read_plan(candidates[i], built);
    if (!built.verdict && built.plan.precompiled) {
      take_precompiled(candidates[i], hidden_.front(), built);
      continue;
    }
    if (built.verdict) continue;
    built.asks_caches = may_ask_caches(candidates[i].source);
    jobs.push_back(job_for(built, candidates[i], hidden_.front().sizes));
    owners.emplace_back(i, &hidden_.front());
    if (!built.plan.specialize) continue;
    jobs.push_back(job_for(built, candidates[i], sizes_));
    owners.emplace_back(i, &timed_);
    built.later = job_for(built, candidates[i], hidden_.back().sizes);
  }
  const std::vector<uint64_t> names = options_.compiler->begin(jobs);
  for (size_t j = 0; j < jobs.size(); ++j) {
    all[owners[j].first].begun.emplace_back(owners[j].second, names[j]);
  }
  return all;
}

Result<void> DeviceEvaluator::finish_build(Built& built) const {
  std::optional<Error> failed;
  for (const auto& [workload, name] : built.begun) {
    auto outcome = options_.compiler->collect(name);
    if (outcome.has_error()) failed = outcome.error();
    if (outcome.has_verdict()) built.verdict = outcome.verdict();
    if (outcome) built.take(*workload, std::move(*outcome));
  }
  built.begun.clear();
  return failed ? Result<void>(*failed) : Result<void>();
}

Result<std::vector<Evaluation>> DeviceEvaluator::evaluate(const std::vector<Candidate>& candidates,
                                                          const EvaluateRequest& request) {
  std::vector<Built> built;
  BatchStages stages;
  stages.grows = true;
  stages.prepare = [&](const std::vector<Candidate>& fresh) -> Result<void> {
    QUERN_ASSIGN(std::vector<Built> begun, build(fresh));
    std::ranges::move(begun, std::back_inserter(built));
    return {};
  };
  stages.evaluate = [&](const Candidate& candidate, size_t index) -> Result<Evaluation> {
    QUERN_TRY(look_ahead(built, index, request.incumbent_ns));
    auto evaluation = evaluate_built(candidate, built[index], request.incumbent_ns);
    built[index] = Built();  // of a long stream, binaries and logs would add up
    return evaluation;
  };
  return evaluate_batch(candidates, request, cache_, stages);
}

/// What two candidates have in common that only differ in names and comments; "" where that cannot
/// be said.
std::string DeviceEvaluator::machine_key(const Built& built) const {
  if (built.verdict || built.code.empty()) return "";
  Hasher hasher;
  hasher.add(built.code);
  for (const Workload* workload : {&hidden_.front(), &timed_}) {
    auto plan = bind_plan(built.plan, plan_workload(program_, workload->sizes), options_.target);
    if (!plan) return "";
    hasher.add(to_wire(without_names(std::move(*plan), built.images)));
  }
  return hasher.hex();
}

const std::string& DeviceEvaluator::key_of(Built& built) const {
  if (!built.key) built.key = machine_key(built);
  return *built.key;
}

Result<Evaluation> DeviceEvaluator::evaluate_built(const Candidate& candidate, Built& built,
                                                   double incumbent_ns) {
  QUERN_TRY(finish_build(built));
  Evaluation evaluation;
  evaluation.candidate_id = candidate.id;
  evaluation.build = built.build;
  const int64_t start = steady_now_ns();
  const std::string& key = key_of(built);
  if (const auto twin = twins_.find(key); twin != twins_.end()) {
    Evaluation same = twin->second;
    same.notes.push_back("has the machine code and the launches of " + same.candidate_id);
    same.candidate_id = candidate.id;
    same.build = built.build;
    same.cached = true;
    same.stages_ms = {{"compile", built.compile_ms}, {"total", built.compile_ms}};
    return same;
  }
  if (built.verdict) {
    evaluation.verdict = *built.verdict;
  } else {
    const auto judged = judge(built, incumbent_ns, evaluation);
    const auto weigh = [&](double median_ns) -> Result<void> {
      weigh_time(median_ns, options_.work, evaluation);
      return {};
    };
    QUERN_TRY(record_judged(judged, candidate, options_.clock, weigh, evaluation));
  }
  evaluation.stages_ms["compile"] = built.compile_ms;
  const double looked_ms = built.look ? built.look->ms : 0;
  record_times(start - static_cast<int64_t>(1e6 * looked_ms), built.compile_ms, evaluation);
  if (!key.empty()) twins_[key] = evaluation;
  return evaluation;
}

/// A worker that fails for reasons of ours gets one successor before we give up.
Outcome<Passed> DeviceEvaluator::judge(Built& built, double incumbent_ns, Evaluation& evaluation) {
  if (built.look) {
    evaluation.checks = built.look->evaluation.checks;
    evaluation.stages_ms = built.look->evaluation.stages_ms;
    if (built.look->failed) return *built.look->failed;
  }
  const Evaluation blank = evaluation;
  Outcome<Passed> judged = Error{};
  for (int attempt = 0; attempt < kAttempts && judged.has_error(); ++attempt) {
    evaluation = blank;
    DeviceSessions& sessions = sessions_of(built);
    auto session = sessions.take();
    if (!session) return session.error();
    judged = judge_in(**session, built, incumbent_ns, evaluation);
    sessions.give_back(std::move(*session));
  }
  return judged;
}

Outcome<Passed> DeviceEvaluator::judge_in(DeviceSession& session, Built& built, double incumbent_ns,
                                          Evaluation& evaluation) {
  const int64_t begin = steady_now_ns();
  const double looked_ms = evaluation.stages_ms["verify"];
  if (!built.look) {
    auto hidden = built.plan.precompiled
                      ? verify_at_size(session, built, evaluation)
                      : verify_hidden_in(session, built, hidden_.front(), evaluation);
    evaluation.stages_ms["verify"] = ms_since(begin);
    if (!hidden) return pass_on(hidden);
  }
  auto passed = time_in(session, built, incumbent_ns, evaluation);
  const auto timed = evaluation.stages_ms.find("time");
  const double timed_ms = timed == evaluation.stages_ms.end() ? 0 : timed->second;
  evaluation.stages_ms["verify"] = looked_ms + ms_since(begin) - timed_ms;
  if (!passed) return passed;
  const bool near = incumbent_ns <= 0 || passed->timing.median_ns < kNearRecord * incumbent_ns;
  const bool any_size = !built.plan.precompiled;
  if (near && any_size && !(built.look && built.look->whole)) {
    auto second = verify_second(session, built, evaluation);
    if (!second) return pass_on(second);
  }
  passed->method = method_of(evaluation.checks, passed->level);
  if (!any_size) passed->method += ", at this size alone";
  return passed;
}

/// The second hidden shape, on the worker that had the first look where there was one.
Outcome<Done> DeviceEvaluator::verify_second(DeviceSession& session, Built& built,
                                             Evaluation& evaluation) {
  if (!built.look) return verify_hidden_in(session, built, hidden_.back(), evaluation);
  auto seat = sessions_->take(DeviceSessions::Use::kFirstLook);
  if (!seat) return seat.error();
  auto second = verify_hidden_in(**seat, built, hidden_.back(), evaluation);
  sessions_->give_back(std::move(*seat), DeviceSessions::Use::kFirstLook);
  return second;
}

/// The timed shape: verified, then timed.
Outcome<Passed> DeviceEvaluator::time_in(DeviceSession& session, Built& built, double incumbent_ns,
                                         Evaluation& evaluation) {
  auto kernel = start(session, built, timed_, &evaluation);
  if (!kernel) return pass_on(kernel);
  auto call_ns = verify_timed(**kernel, built.trusted, evaluation);
  Passed passed;
  passed.level = level_of(evaluation.checks);
  if (call_ns && options_.clock != "simulated") {
    sessions_->await_calm();
    const int64_t timing_start = steady_now_ns();
    auto timing = take_time(**kernel, *call_ns, incumbent_ns, options_.timing, options_.seed);
    evaluation.stages_ms["time"] = ms_since(timing_start);
    if (timing) passed.timing = *timing;
    if (!timing) call_ns = pass_on(timing);
  }
  evaluation.notes = (*kernel)->notes();
  for (const std::string& note : {oracle_note_, library_note_}) {
    if (!note.empty()) evaluation.notes.push_back(note);
  }
  evaluation.stages_ms["kernel"] += (*kernel)->kernel_ns() * 1e-6;
  if (!call_ns) return pass_on(call_ns);
  return passed;
}

Outcome<Done> DeviceEvaluator::verify_hidden_in(DeviceSession& session, Built& built,
                                                const Workload& hidden, Evaluation& evaluation) {
  auto kernel = start(session, built, hidden, &evaluation);
  if (!kernel) return pass_on(kernel);
  return verify_hidden(**kernel, evaluation);
}

/// The binary for a workload; a specialised candidate is built for the second hidden one only now.
Outcome<std::string> DeviceEvaluator::image_for(Built& built, const Workload& workload,
                                                Evaluation* evaluation) {
  const auto found = built.images.find(built.plan.specialize ? &workload : &hidden_.front());
  if (found != built.images.end()) return found->second;
  QUERN_CHECK(built.later.has_value(), "a candidate without a binary");
  auto outcome = std::move(options_.compiler->compile_all({*built.later}).front());
  if (!outcome) return pass_on(outcome);
  built.take(workload, std::move(*outcome));
  if (evaluation != nullptr) evaluation->stages_ms["compile"] = built.compile_ms;
  return built.images[&workload];
}

Outcome<std::unique_ptr<RunnableKernel>> DeviceEvaluator::start(DeviceSession& session,
                                                                Built& built,
                                                                const Workload& workload,
                                                                Evaluation* evaluation) {
  auto plan = built.library
                  ? Result<BoundPlan>(BoundPlan{})
                  : bind_plan(built.plan, plan_workload(program_, workload.sizes), options_.target);
  if (!plan) return bad_plan(plan.error());
  auto image = image_for(built, workload, evaluation);
  if (!image) return pass_on(image);
  WorkerKernel::Options options;
  const bool timed = &workload == &timed_;
  const bool again = again_ && &workload == &*again_;
  if ((timed || again) && timed_oracle_) options.oracle = &*timed_oracle_;
  options.digest_seed = mix_seed(options_.seed ^ options_.secret, 29);
  options.known = &known_;
  options.asks_caches = built.asks_caches;
  options.slots = timed   ? slots_on(sessions_->properties(), ir::io_bytes(program_, sizes_))
                  : again ? 1
                          : static_cast<int>(workload.datasets.size());
  options.placement = timed ? Placement::kLeft : Placement::kRight;
  options.hang_s = built.trusted ? kTrustedHangS : options_.hang_s;
  auto kernel = WorkerKernel::start(program_, workload, session, *image, *plan, options);
  if (!kernel) return pass_on(kernel);
  if (timed && evaluation != nullptr) evaluation->resources = (*kernel)->resources();
  return std::unique_ptr<RunnableKernel>(std::move(*kernel));
}

Result<Duel> DeviceEvaluator::duel(const Candidate& candidate, const Candidate& baseline) {
  if (options_.clock == "simulated") return hashed_duel(candidate, baseline);
  QUERN_ASSIGN(std::vector<Built> built, build({candidate, baseline}));
  for (Built& one : built) QUERN_TRY(finish_build(one));
  std::unique_ptr<DeviceSession> seats[2];
  Contender contenders[2] = {{"the candidate", {}}, {"the baseline", {}}};
  for (size_t side = 0; side < 2; ++side) {
    contenders[side].start = [this, &mine = built[side],
                              &seat = seats[side]]() -> Outcome<std::unique_ptr<RunnableKernel>> {
      if (mine.verdict) return *mine.verdict;
      DeviceSessions& sessions = sessions_of(mine);
      sessions.give_back(std::move(seat));
      auto taken = sessions.take();
      if (!taken) return taken.error();
      seat = std::move(*taken);
      auto kernel = start(*seat, mine, timed_, nullptr);
      if (kernel) {
        for (int slot = 0; slot < (*kernel)->slots(); ++slot) (*kernel)->load(slot, 0);
      }
      return kernel;
    };
  }
  auto duel =
      duel_kernels(contenders[0], contenders[1], options_.timing, options_.duel, options_.seed);
  for (size_t side = 0; side < 2; ++side) {
    sessions_of(built[side]).give_back(std::move(seats[side]));
  }
  if (!duel) return duel;
  duel->baseline = baseline_name(baseline);
  return std::move(*duel);
}

Candidate DeviceEvaluator::naive_baseline() {
  Candidate naive =
      make_candidate(options_.naive, "baseline", std::string(plan_target_name(options_.target)));
  naive.note = "naive";
  trusted_.insert(naive.id);
  return naive;
}

Result<std::vector<Candidate>> DeviceEvaluator::baselines() {
  std::vector<Candidate> all;
  if (options_.naive.empty()) return all;
  all.push_back(naive_baseline());
  add_library(all);
  return all;
}

}  // namespace quern
