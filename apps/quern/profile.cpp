// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

#include "commands.h"
#include "cuda_tools.h"
#include "device/cuda/advice.h"
#include "device/cuda/sass.h"
#include "evaluate/task_workloads.h"
#include "profile_text.h"
#include "record/bound_plan.h"
#include "task_source.h"
#include "verify/plan_workload.h"
#include "wiring.h"

namespace quern::cli {
namespace {

struct ProfileArguments {
  std::string task, candidate, size, architecture;
  RunOptions options;  ///< all but the task
};

/// What is known of a candidate from running it.
struct Measured {
  Evaluation evaluation;
  Work work;
  std::string device;
  std::optional<Profile> counters;
  std::string refusal;  ///< why there are no counters
};

/// A launch of the plan, with what is known of its kernel.
struct ProfiledLaunch {
  BoundLaunch launch;
  cuda::KernelFacts facts;
};

/// What is known of a candidate without running it.
struct StaticProfile {
  std::string compiler, architecture;
  std::vector<cuda::SassStatistics> sass;
  std::vector<ProfiledLaunch> launches;
  std::vector<std::string> notes;
  bool runs_here = false;
};

Result<cuda::CudaBinary> build(cuda::CompilePool& pool, const LaunchPlan& plan,
                               const std::string& source, const TaskAtSize& task) {
  cuda::CudaJob job;
  job.source = source;
  job.fast_math = plan.fast_math;
  job.max_registers = plan.max_registers;
  if (plan.specialize) job.macros = size_macros(task.program, task.sizes);
  auto outcome = pool.compile(std::move(job));
  if (outcome.has_error()) return outcome.error();
  if (outcome.has_verdict()) {
    return Error{ErrorKind::kInput, verdict_reason(outcome.verdict()),
                 verdict_evidence(outcome.verdict())};
  }
  return std::move(*outcome);
}

double product(const std::array<uint32_t, 3>& extents) {
  return static_cast<double>(extents[0]) * extents[1] * extents[2];
}

Result<ProfiledLaunch> profile_launch(const BoundLaunch& launch, const cuda::CudaBinary& binary,
                                      const StaticProfile& profile, int multiprocessors) {
  const auto found = std::ranges::find(binary.kernels, launch.kernel, &cuda::CubinKernel::name);
  if (found == binary.kernels.end()) {
    return Error{ErrorKind::kInput, "the source has no kernel " + launch.kernel,
                 "declare it extern \"C\""};
  }
  ProfiledLaunch made{launch, {}};
  made.facts.resources = *found;
  made.facts.block_threads = static_cast<int>(product(launch.block));
  made.facts.shared_bytes = launch.shared_bytes + found->shared_bytes;
  made.facts.blocks = product(launch.grid);
  made.facts.multiprocessors = multiprocessors;
  if (const auto limits = cuda::limits_of(profile.architecture)) {
    made.facts.occupancy = cuda::occupancy_of(*limits, found->registers, made.facts.block_threads,
                                              made.facts.shared_bytes);
  }
  const auto sass = std::ranges::find(profile.sass, launch.kernel, &cuda::SassStatistics::kernel);
  if (sass != profile.sass.end()) made.facts.sass = &*sass;
  return made;
}

Json widths_json(const cuda::WidthCounts& counts) {
  Json json = Json::object();
  const char* names[] = {"1", "2", "4", "8", "16"};
  for (size_t i = 0; i < counts.size(); ++i) json[names[i]] = counts[i];
  return json;
}

Json sass_json(const cuda::SassStatistics& s) {
  return Json{{"instructions", s.instructions},
              {"global_loads", widths_json(s.global_loads)},
              {"global_stores", widths_json(s.global_stores)},
              {"shared_loads", widths_json(s.shared_loads)},
              {"shared_stores", widths_json(s.shared_stores)},
              {"local_loads", s.local_loads},
              {"local_stores", s.local_stores},
              {"async_copies", s.async_copies},
              {"bulk_copies", s.bulk_copies},
              {"matrix", s.matrix},
              {"warpgroup_matrix", s.warpgroup_matrix},
              {"fma_f32", s.fma_f32},
              {"f64", s.f64},
              {"special", s.special},
              {"atomics", s.atomics},
              {"barriers", s.barriers},
              {"shuffles", s.shuffles}};
}

Json launch_json(const ProfiledLaunch& one) {
  const cuda::KernelFacts& facts = one.facts;
  Json advice = Json::array();
  for (const cuda::Advice& item : cuda::advise(facts)) {
    advice.push_back(
        Json{{"weight", item.weight}, {"finding", item.finding}, {"remedy", item.remedy}});
  }
  return Json{{"kernel", one.launch.kernel},
              {"grid", one.launch.grid},
              {"block", one.launch.block},
              {"registers", facts.resources.registers},
              {"shared_bytes", facts.shared_bytes},
              {"local_bytes", facts.resources.stack_bytes},
              {"spill_bytes", facts.resources.spill_store_bytes + facts.resources.spill_load_bytes},
              {"code_bytes", facts.resources.code_bytes},
              {"occupancy", facts.occupancy.share},
              {"blocks_per_multiprocessor", facts.occupancy.blocks},
              {"limited_by", facts.occupancy.limited_by},
              {"sass", facts.sass == nullptr ? Json(nullptr) : sass_json(*facts.sass)},
              {"advice", advice}};
}

int total(const cuda::WidthCounts& counts) {
  return std::accumulate(counts.begin(), counts.end(), 0);
}

std::string sass_text(const cuda::SassStatistics& s) {
  return fmt::format(
      "  code: {} instructions; global loads {} (16-byte: {}), stores {} (16-byte: {}); shared "
      "loads {}, stores {};\n        local {}; fma {}, matrix {} + {} by warpgroup, TMA {}, "
      "cp.async {}, special {}, atomics {}, barriers {}\n",
      s.instructions, total(s.global_loads), s.global_loads[4], total(s.global_stores),
      s.global_stores[4], total(s.shared_loads), total(s.shared_stores),
      s.local_loads + s.local_stores, s.fma_f32, s.matrix, s.warpgroup_matrix, s.bulk_copies,
      s.async_copies, s.special, s.atomics, s.barriers);
}

std::string launch_text(const ProfiledLaunch& one) {
  const auto& [grid, block] = std::pair{one.launch.grid, one.launch.block};
  const cuda::KernelFacts& facts = one.facts;
  std::string text = fmt::format(
      "{}: grid {} x {} x {}, block {} x {} x {}\n  {} registers, {} bytes of shared memory, {} "
      "bytes of local memory a thread, {} bytes spilled\n",
      one.launch.kernel, grid[0], grid[1], grid[2], block[0], block[1], block[2],
      facts.resources.registers, facts.shared_bytes, facts.resources.stack_bytes,
      facts.resources.spill_store_bytes + facts.resources.spill_load_bytes);
  if (facts.occupancy.blocks > 0) {
    text += fmt::format("  occupancy {:.0f} %: {} blocks a multiprocessor, limited by {}\n",
                        100 * facts.occupancy.share, facts.occupancy.blocks,
                        facts.occupancy.limited_by);
  }
  if (facts.sass != nullptr) text += sass_text(*facts.sass);
  for (const cuda::Advice& item : cuda::advise(facts)) {
    text += fmt::format("  * {}\n    {}\n", item.finding, item.remedy);
  }
  return text;
}

/// Machine code where a disassembler is found; a note where none is.
void add_sass(const Context& context, const cuda::CudaBinary& binary, StaticProfile& profile) {
  auto library = cuda::find_nvrtc("", python_environments(context));
  const std::string nvdisasm =
      cuda::find_nvdisasm(library ? library->path : "", python_environments(context));
  if (nvdisasm.empty()) {
    profile.notes.emplace_back(
        "no machine code: there is no nvdisasm (CUDA toolkits and the Python package triton have "
        "it)");
    return;
  }
  auto sass = cuda::count_sass(nvdisasm, binary.image, context.cache_directory + "/cuda");
  if (sass) {
    profile.sass = std::move(*sass);
  } else {
    profile.notes.push_back("no machine code: " + sass.error().message);
  }
}

/// Multiprocessors of the first GPU if it is of the architecture that was compiled for.
int multiprocessors_here(const std::string& architecture) {
  auto driver = cuda::Driver::open();
  if (!driver) return 0;
  auto gpus = cuda::list_gpus(**driver);
  const bool same = gpus && !gpus->empty() && gpus->front().architecture() == architecture;
  return same ? gpus->front().multiprocessors : 0;
}

Result<Measured> measure(const Context& context, const TaskAtSize& task,
                         const ProfileArguments& arguments, const std::string& source) {
  RunOptions options = arguments.options;
  set_task(task, options);
  QUERN_ASSIGN(const std::unique_ptr<Evaluator> evaluator, make_evaluator(context, task, options));
  const Candidate candidate =
      make_candidate(source, "human", candidate_language(arguments.options.target));
  QUERN_ASSIGN(std::vector<Evaluation> evaluations, evaluator->evaluate({candidate}, {}));
  Measured measured;
  measured.evaluation = std::move(evaluations.front());
  measured.work = evaluator->work();
  measured.device = evaluator->environment().device;
  if (!passed(measured.evaluation.verdict)) {
    measured.refusal = "only candidates that passed are profiled";
    return measured;
  }
  auto counters = evaluator->profile(candidate);
  if (counters) {
    measured.counters = std::move(*counters);
  } else {
    const Error& error = counters.error();
    measured.refusal = error.message + (error.hint.empty() ? "" : "; " + error.hint);
  }
  return measured;
}

Json measured_json(const Measured& measured) {
  const Timing* timing = timing_of(measured.evaluation.verdict);
  return Json{{"device", measured.device},
              {"verdict", verdict_name(measured.evaluation.verdict)},
              {"reason", verdict_reason(measured.evaluation.verdict)},
              {"median_ns", timing == nullptr ? Json(nullptr) : Json(timing->median_ns)},
              {"roofline", measured.evaluation.roofline},
              {"work", to_json(measured.work)},
              {"resources", to_json(measured.evaluation)["resources"]},
              {"counters", measured.counters ? to_json(*measured.counters) : Json(nullptr)},
              {"refusal", measured.refusal}};
}

/// What ran, where it lies under the roof, and what became of the counters.
std::string measured_text(const Measured& measured) {
  const Verdict& verdict = measured.evaluation.verdict;
  std::string text = "device: " + measured.device + "\n";
  if (const Timing* timing = timing_of(verdict)) {
    text += roofline_text(measured.work, timing->median_ns);
  } else {
    text += fmt::format("{}: {}\n", verdict_name(verdict), verdict_reason(verdict));
  }
  if (!measured.refusal.empty()) {
    text += "no hardware counters: " + measured.refusal + "\n";
  } else if (measured.counters) {
    text += fmt::format("hardware counters of one call, read in {} passes\n",
                        measured.counters->passes);
  }
  return text;
}

/// A device without machine code that we could read: what its driver says of the kernels.
std::string resources_text(const Evaluation& evaluation) {
  std::string text;
  for (const KernelResources& kernel : evaluation.resources) {
    text += fmt::format("{}: {} bytes of local memory a block, at most {} threads a block\n",
                        kernel.kernel, kernel.shared_bytes, kernel.max_threads);
  }
  return text;
}

Result<StaticProfile> look_at(const Context& context, const TaskAtSize& task,
                              const ProfileArguments& arguments, const std::string& source) {
  const PlanWorkload workload = plan_workload(task.program, task.sizes);
  QUERN_ASSIGN(LaunchPlan plan, parse_launch_plan(source, workload, PlanTarget::kCuda));
  if (plan.precompiled) {
    return Error{ErrorKind::kInput, "captured machine code cannot be profiled yet",
                 "quern eval judges and times it"};
  }
  QUERN_ASSIGN(BoundPlan bound, bind_plan(plan, workload, PlanTarget::kCuda));
  QUERN_ASSIGN(std::unique_ptr<cuda::CompilePool> pool,
               make_compile_pool(context, arguments.architecture, 1));
  QUERN_ASSIGN(cuda::CudaBinary binary, build(*pool, plan, source, task));
  StaticProfile profile;
  profile.compiler = pool->version();
  profile.architecture = pool->architecture();
  add_sass(context, binary, profile);
  const int multiprocessors = multiprocessors_here(profile.architecture);
  profile.runs_here = multiprocessors > 0;
  if (!profile.runs_here) {
    profile.notes.emplace_back("no GPU of this architecture here: static signals only");
  }
  for (const BoundStep& step : bound.steps) {
    const auto* launch = std::get_if<BoundLaunch>(&step);
    if (launch == nullptr) continue;
    QUERN_ASSIGN(ProfiledLaunch one, profile_launch(*launch, binary, profile, multiprocessors));
    profile.launches.push_back(std::move(one));
  }
  return profile;
}

Json profile_json(const StaticProfile& profile, const std::optional<Measured>& measured) {
  Json launches = Json::array();
  for (const ProfiledLaunch& one : profile.launches) launches.push_back(launch_json(one));
  return Json{{"compiler", profile.compiler},
              {"architecture", profile.architecture},
              {"launches", launches},
              {"measured", measured ? measured_json(*measured) : Json(nullptr)},
              {"notes", profile.notes}};
}

std::string profile_text(const StaticProfile& profile, const std::optional<Measured>& measured) {
  std::string text;
  if (!profile.compiler.empty()) {
    text += fmt::format("compiled by {} for {}\n", profile.compiler, profile.architecture);
  }
  if (measured) text += measured_text(*measured);
  const bool counted = measured && measured->counters &&
                       measured->counters->launches.size() == profile.launches.size();
  for (size_t i = 0; i < profile.launches.size(); ++i) {
    text += launch_text(profile.launches[i]);
    if (counted) text += counters_text(measured->counters->launches[i]);
  }
  if (profile.launches.empty() && measured) text += resources_text(measured->evaluation);
  for (const std::string& note : profile.notes) text += fmt::format("note: {}\n", note);
  return text;
}

Result<int> profile(const Context& context, const ProfileArguments& arguments) {
  if (arguments.options.target != "cuda" && arguments.options.target != "opencl") {
    return Error{ErrorKind::kUsage,
                 fmt::format("there is no profile for target '{}'", arguments.options.target),
                 "known: cuda, opencl"};
  }
  QUERN_ASSIGN(std::string source, read_candidate(arguments.candidate));
  QUERN_ASSIGN(TaskAtSize task,
               load_task_at(context, arguments.task, arguments.size, arguments.options.target));
  StaticProfile profile;
  profile.runs_here = true;
  if (arguments.options.target == "cuda") {
    QUERN_ASSIGN(profile, look_at(context, task, arguments, source));
  }
  std::optional<Measured> measured;
  if (profile.runs_here) {
    QUERN_ASSIGN(measured, measure(context, task, arguments, source));
  }
  if (context.json) {
    Json json = {{"task", task.program.name}, {"size", task.size}};
    json.update(profile_json(profile, measured));
    print_json(json);
  } else {
    print(fmt::format("{} at size {}\n", task.program.name, task.size) +
          profile_text(profile, measured));
  }
  return measured && !passed(measured->evaluation.verdict) ? kIncorrect : kImproved;
}

}  // namespace

Action add_profile(CLI::App& app) {
  auto a = std::make_shared<ProfileArguments>();
  a->options.target = "cuda";
  app.add_option("TASK", a->task, "A task's name (see: quern tasks) or the path of a .task file")
      ->required();
  app.add_option("CANDIDATE", a->candidate, "Device source with a plan (docs/plan_format.md)")
      ->required();
  app.add_option("--size", a->size, "Size set [cpu where the task has it, else full]");
  app.add_option("--target", a->options.target, "Hardware to run on: cuda, opencl")
      ->capture_default_str();
  app.add_option("--device", a->options.device, "Which of the target's devices (see: quern doctor)")
      ->capture_default_str();
  app.add_option("--arch", a->architecture, "Architecture, e.g. sm_90a [that of the first GPU]");
  return [a](const Context& context) {
    Result<int> code = profile(context, *a);
    return code ? *code : fail(context, code.error());
  };
}

}  // namespace quern::cli
