// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/file.h"
#include "base/strings.h"
#include "base/subprocess.h"
#include "codegen/reference.h"
#include "commands.h"
#include "cuda_tools.h"
#include "deploy/artifact.h"
#include "evaluate/task_workloads.h"
#include "record/bound_plan.h"
#include "store/run_store.h"
#include "task_source.h"
#include "verify/plan_workload.h"
#include "wiring.h"

namespace quern::cli {
namespace {

/// The attempt that the run's summary calls the best.
Result<Attempt> best_attempt(RunStore& store, const RunRecord& run) {
  const Error none{ErrorKind::kUsage, "the run has no kernel to export",
                   fmt::format("quern resume {}", store.directory())};
  if (!run.summary || !run.summary->is_object()) return none;
  const auto best = run.summary->find("best");
  if (best == run.summary->end() || !best->is_object()) return none;
  QUERN_ASSIGN(const std::vector<Attempt> attempts, store.attempts());
  for (const Attempt& attempt : attempts) {
    if (attempt.candidate.id == best->value("candidate_id", std::string())) return attempt;
  }
  return Error{ErrorKind::kInput, "the run's best kernel is not among its attempts",
               "the run directory is damaged; `quern report` shows what it holds"};
}

template <class T>
Result<T> made_again(Outcome<T> made) {
  if (made.has_error()) return made.error();
  if (made.has_verdict()) {
    return Error{ErrorKind::kEnvironment, "the kernel of the run does not compile here",
                 verdict_evidence(made.verdict())};
  }
  return std::move(*made);
}

Result<void> write_below(const std::string& folder, const ArtifactFile& file) {
  const std::string path = folder + "/" + file.path;
  QUERN_TRY(make_directories(std::filesystem::path(path).parent_path().string()));
  return write_file_atomic(path, file.bytes);
}

/// The kernel for a GPU, compiled as it was for the run: from the cache where that has it.
Result<std::pair<CudaCode, Build>> cuda_code(const Context& context, const RunRecord& run,
                                             const TaskAtSize& task, const Attempt& best) {
  const PlanWorkload workload = plan_workload(task.program, task.sizes);
  const std::string& source = best.candidate.source;
  QUERN_ASSIGN(const LaunchPlan plan, parse_launch_plan(source, workload, PlanTarget::kCuda));
  if (plan.precompiled) {
    return Error{ErrorKind::kInput, "captured machine code cannot be exported yet",
                 "export what the rules or a model wrote as source"};
  }
  CudaCode code;
  QUERN_ASSIGN(code.plan, bind_plan(plan, workload, PlanTarget::kCuda));
  const std::string& flags = best.evaluation.build.flags;
  const size_t at = flags.find("sm_");
  if (at != std::string::npos) code.architecture = flags.substr(at, flags.find(' ', at) - at);
  QUERN_ASSIGN(const auto pool, make_compile_pool(context, code.architecture, 1));
  code.architecture = pool->architecture();
  cuda::CudaJob job;
  job.source = source;
  job.fast_math = plan.fast_math;
  job.max_registers = plan.max_registers;
  if (plan.specialize) job.macros = size_macros(task.program, task.sizes);
  QUERN_ASSIGN(const cuda::CudaBinary binary, made_again(pool->compile(std::move(job))));
  code.cubin = binary.image;
  for (const cuda::CubinKernel& kernel : binary.kernels) {
    std::vector<uint32_t>& bytes = code.parameters[kernel.name];
    for (const auto& parameter : kernel.parameters) bytes.push_back(parameter.bytes);
  }
  code.gpu = run.environment.device;
  return std::pair(code, binary.build);
}

/// The launcher of a GPU's kernel as a library, wherever the folder has it.
Result<void> build_launcher(const CpuCompiler& compiler, const std::string& folder,
                            const std::string& name) {
  const std::vector<std::string> paths = library_paths(name);
  quern::Command command;
  command.argv = {compiler.toolchain().driver,
                  "-x",
                  "c",
                  "-std=gnu99",
                  "-O2",
                  "-fPIC",
                  "-shared",
                  "-I" + folder + "/include",
                  fmt::format("{}/source/{}.c", folder, name),
                  "-o",
                  folder + "/" + paths.front(),
                  "-ldl",
                  "-lpthread"};
  command.env = {"PATH=/usr/bin:/bin"};
  QUERN_ASSIGN(const ProcessEnd end, run_process(command));
  if (!end.status.ok()) {
    return Error{ErrorKind::kEnvironment,
                 fmt::format("{} does not build the launcher", compiler.version()), end.err};
  }
  QUERN_ASSIGN(const std::string bytes, read_file(folder + "/" + paths.front()));
  for (const std::string& path : paths) QUERN_TRY(write_below(folder, {path, bytes}));
  return {};
}

/// The best kernel of a run; `measured` says whether its binary is the one that was measured.
Result<Winner> find_winner(const Context& context, const CpuCompiler& compiler, RunStore& store,
                           bool& measured) {
  QUERN_ASSIGN(const RunRecord run, store.run());
  if (run.options.target != "cpu" && run.options.target != "cuda") {
    return Error{ErrorKind::kUsage,
                 fmt::format("kernels for '{}' are not exported", run.options.target),
                 fmt::format("{}/best.* holds the source with its launch plan; targets that are: "
                             "cpu, cuda",
                             store.directory())};
  }
  QUERN_ASSIGN(const Attempt best, best_attempt(store, run));
  QUERN_ASSIGN(const TaskAtSize task, parse_task_at(run.options.task_text, run.options.task_name,
                                                    run.options.size, run.options.target));
  Winner winner;
  winner.program = task.program;
  winner.sizes = task.sizes;
  winner.task_text = run.options.task_text;
  winner.source = best.candidate.source;
  winner.run_id = run.run_id;
  winner.size = run.options.size;
  winner.environment = run.environment;
  winner.summary = *run.summary;
  if (run.options.target == "cuda") {
    QUERN_ASSIGN(auto made, cuda_code(context, run, task, best));
    winner.cuda = std::move(made.first);
    winner.build = std::move(made.second);
  } else {
    QUERN_ASSIGN(const Plan plan, parse_plan(best.candidate.source, task.program.name));
    CompileJob job;
    job.source = best.candidate.source;
    if (plan.specialize) job.macros = size_macros(task.program, task.sizes);
    QUERN_ASSIGN(const Binary binary, made_again(compiler.compile(job)));
    winner.build = binary.build;
    QUERN_ASSIGN(winner.binary, read_file(binary.path));
  }
  measured = winner.build.binary_hash == best.evaluation.build.binary_hash;
  CompileJob oracle;
  const bool cuda = run.options.target == "cuda";
  oracle.source = emit_oracle(
      task.program, contract_on(task.program, cuda ? ScheduleTarget::kCuda : ScheduleTarget::kCpu));
  oracle.trusted = true;
  QUERN_ASSIGN(const Binary oracle_binary, made_again(compiler.compile(oracle)));
  QUERN_ASSIGN(winner.oracle, read_file(oracle_binary.path));
  return winner;
}

/// Whether a folder may be written: it is not there, empty, or an export of the same task.
Result<void> check_folder(const std::string& folder, const std::string& name) {
  namespace fs = std::filesystem;
  std::error_code code;
  if (!fs::exists(folder, code)) return {};
  if (!fs::is_directory(folder, code)) {
    return Error{ErrorKind::kUsage, folder + " is no folder", "name another one with --out"};
  }
  if (fs::is_empty(folder, code)) return {};
  const Result<std::string> text = read_file(folder + "/manifest.json");
  const Result<Json> manifest = text ? parse_json(*text) : Result<Json>(Json());
  if (manifest && manifest->is_object() && manifest->value("task", "") == name) return {};
  return Error{ErrorKind::kUsage,
               fmt::format("{} holds something other than an export of {}", folder, name),
               "name another folder with --out, or empty this one"};
}

Result<int> export_run(const Context& context, const std::string& directory,
                       const std::string& out) {
  QUERN_ASSIGN(RunStore store, RunStore::read(directory));
  QUERN_ASSIGN(const RunRecord run, store.run());
  QUERN_ASSIGN(const auto compiler,
               CpuCompiler::make(compiler_options(context, run.options.compiler)));
  bool measured = false;
  QUERN_ASSIGN(const Winner winner, find_winner(context, *compiler, store, measured));
  QUERN_ASSIGN(const std::vector<ArtifactFile> files, make_artifact(winner));

  const std::string folder = out.empty() ? store.directory() + "/export" : out;
  const std::string& name = winner.program.name;
  QUERN_TRY(check_folder(folder, name));
  Json paths = Json::array();
  for (const ArtifactFile& file : files) {
    QUERN_TRY(write_below(folder, file));
    paths.push_back(file.path);
  }
  if (winner.cuda) {
    for (const std::string& path : library_paths(name)) {
      QUERN_TRY(make_directories(std::filesystem::path(folder + "/" + path).parent_path()));
      paths.push_back(path);
    }
    QUERN_TRY(build_launcher(*compiler, folder, name));
  }
  if (!measured) {
    say(
        fmt::format("note: the {} was built anew and differs from the measured one; `quern eval` "
                    "judges the source here\n",
                    winner.cuda ? "machine code" : "library"));
  }
  if (context.json) {
    print_json({{"run_id", run.run_id},
                {"directory", folder},
                {"files", paths},
                {"measured_binary", measured}});
  } else {
    print(
        fmt::format("{0}\n  C and C++  {0}/include/quern/{1}.h, {1}.hpp, {0}/lib\n"
                    "  PyTorch    pip install {2}\n"
                    "  tests      cmake -S {3} -B build && cmake --build build && ctest "
                    "--test-dir build\n",
                    folder, name, shell_word(folder + "/python"), shell_word(folder + "/test")));
  }
  return kImproved;
}

}  // namespace

Action add_export(CLI::App& app) {
  auto directory = std::make_shared<std::string>();
  auto out = std::make_shared<std::string>();
  app.add_option("RUN", *directory, "Run directory")->required();
  app.add_option("--out", *out, "Folder to write [RUN/export]");
  return [=](const Context& context) {
    Result<int> code = export_run(context, *directory, *out);
    return code ? *code : fail(context, code.error());
  };
}

}  // namespace quern::cli
