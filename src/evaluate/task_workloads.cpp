// SPDX-License-Identifier: Apache-2.0
#include "evaluate/task_workloads.h"

#include <fmt/format.h>

#include "base/memory.h"
#include "codegen/reference.h"
#include "ir/check.h"
#include "tensor/fill.h"

namespace quern {
namespace {

Result<void> check_memory(const ir::Program& program, const ir::Sizes& sizes) {
  const double needed = evaluation_bytes(program, sizes);
  const double available = available_memory_bytes();
  if (needed <= available) return {};
  return Error{
      ErrorKind::kEnvironment,
      fmt::format("{} at {} needs about {:.1f} GiB of memory to evaluate; {:.1f} GiB are available",
                  program.name, sizes_name(program, sizes), needed / (1 << 30),
                  available / (1 << 30)),
      "Choose a smaller size set with --size."};
}

}  // namespace

Result<TaskWorkloads> make_workloads(const ir::Program& program, const ir::Sizes& sizes,
                                     uint64_t seed, CpuCompiler& compiler, int threads, bool timed,
                                     Contract contract) {
  QUERN_TRY(ir::check_sizes(program, sizes));
  if (timed) QUERN_TRY(check_memory(program, sizes));
  QUERN_ASSIGN(const Oracle oracle, Oracle::make(program, compiler, threads, contract));
  CompileJob job;
  job.source = emit_naive(program);
  job.trusted = true;
  auto naive = compiler.compile(job);
  if (naive.has_error()) return naive.error();
  if (naive.has_verdict()) {
    return Error{ErrorKind::kInternal,
                 "the naive lowering does not compile: " + verdict_evidence(naive.verdict()), ""};
  }
  TaskWorkloads made;
  made.naive_compile_ms = naive->build.compile_ms;
  const WorkloadMaker maker{program, oracle, *naive, threads};
  for (const int64_t smallest : {3, 1}) {
    const uint64_t stream = smallest == 3 ? 1 : 2;
    QUERN_ASSIGN(Workload hidden, maker.hidden(mix_seed(seed, stream), smallest));
    made.hidden.push_back(std::move(hidden));
  }
  if (!timed) return made;
  QUERN_ASSIGN(made.timed,
               maker.timed(sizes, timed_seed(seed), probe_level_of(made.hidden.front())));
  return made;
}

uint64_t timed_seed(uint64_t seed) { return mix_seed(seed, 3); }

std::vector<std::pair<std::string, int64_t>> size_macros(const ir::Program& program,
                                                         const ir::Sizes& sizes) {
  std::vector<std::pair<std::string, int64_t>> macros;
  for (const std::string& name : program.free_sizes()) {
    macros.emplace_back("QUERN_SIZE_" + name, sizes.at(name));
  }
  return macros;
}

}  // namespace quern
