// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/file.h"
#include "codegen/reference.h"
#include "commands.h"
#include "deploy/artifact.h"
#include "evaluate/task_workloads.h"
#include "store/run_store.h"
#include "task_source.h"
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

Result<Binary> compiled(const CpuCompiler& compiler, const CompileJob& job) {
  Outcome<Binary> made = compiler.compile(job);
  if (made.has_error()) return made.error();
  if (made.has_verdict()) {
    return Error{ErrorKind::kEnvironment, "the kernel of the run does not compile here",
                 verdict_evidence(made.verdict())};
  }
  return made.value();
}

Result<int> export_run(const Context& context, const std::string& directory,
                       const std::string& out) {
  QUERN_ASSIGN(RunStore store, RunStore::read(directory));
  QUERN_ASSIGN(const RunRecord run, store.run());
  QUERN_ASSIGN(const Attempt best, best_attempt(store, run));
  QUERN_ASSIGN(const TaskAtSize task, parse_task_at(run.options.task_text, run.options.task_name,
                                                    run.options.size, run.options.target));
  QUERN_ASSIGN(const Plan plan, parse_plan(best.candidate.source, task.program.name));
  QUERN_ASSIGN(const auto compiler,
               CpuCompiler::make(compiler_options(context, run.options.compiler)));
  CompileJob job;
  job.source = best.candidate.source;
  if (plan.specialize) job.macros = size_macros(task.program, task.sizes);
  QUERN_ASSIGN(const Binary binary, compiled(*compiler, job));
  const bool measured = binary.build.binary_hash == best.evaluation.build.binary_hash;
  CompileJob oracle;
  oracle.source = emit_oracle(task.program);
  oracle.trusted = true;
  QUERN_ASSIGN(const Binary oracle_binary, compiled(*compiler, oracle));

  Winner winner{
      task.program, task.sizes, run.options.task_text, best.candidate.source, "",          "",
      binary.build, run.run_id, run.options.size,      run.environment,       *run.summary};
  QUERN_ASSIGN(winner.binary, read_file(binary.path));
  QUERN_ASSIGN(winner.oracle, read_file(oracle_binary.path));
  QUERN_ASSIGN(const std::vector<ArtifactFile> files, make_artifact(winner));

  const std::string folder = out.empty() ? store.directory() + "/export" : out;
  Json paths = Json::array();
  for (const ArtifactFile& file : files) {
    const std::string path = folder + "/" + file.path;
    QUERN_TRY(make_directories(std::filesystem::path(path).parent_path().string()));
    QUERN_TRY(write_file_atomic(path, file.bytes));
    paths.push_back(file.path);
  }
  if (!measured) {
    say("note: the library was built anew and differs from the measured one, byte for byte; "
        "`quern eval` judges the source here\n");
  }
  if (context.json) {
    print_json({{"run_id", run.run_id},
                {"directory", folder},
                {"files", paths},
                {"measured_binary", measured}});
  } else {
    print(
        fmt::format("{0}\n  C and C++  {0}/include/quern/{1}.h, {1}.hpp, {0}/lib\n"
                    "  PyTorch    pip install {0}/python\n"
                    "  tests      cmake -S {0}/test -B build && cmake --build build && ctest "
                    "--test-dir build\n",
                    folder, task.program.name));
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
