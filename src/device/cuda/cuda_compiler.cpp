// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/cuda_compiler.h"

#include "device/cuda/cuda_source.h"
#include "device/cuda/referee.h"

namespace quern::cuda {

std::vector<uint64_t> CudaCompiler::begin(const std::vector<DeviceCompileJob>& jobs) {
  std::vector<uint64_t> names;
  for (const DeviceCompileJob& job : jobs) {
    CudaJob made;
    made.source = job.source;
    made.macros = job.macros;
    for (const auto& header : job.headers) {
      if (header.first != kPreludeName || header.second != pool_->prelude()) {
        made.headers.push_back(header);
      }
    }
    made.fast_math = job.fast_math;
    made.max_registers = job.max_registers;
    names.push_back(pool_->submit(std::move(made)));
  }
  return names;
}

Outcome<DeviceBinary> CudaCompiler::collect(uint64_t name) {
  while (!waiting_.contains(name)) {
    auto finished = pool_->next(1);
    if (!finished) {
      QUERN_CHECK(pool_->unfinished() > 0, "a build that was not begun, or was collected");
      continue;
    }
    Outcome<CudaBinary>& outcome = finished->outcome;
    if (outcome) {
      waiting_.emplace(finished->ticket,
                       DeviceBinary{std::move(outcome->image), std::move(outcome->build)});
    } else {
      waiting_.emplace(finished->ticket, pass_on(outcome));
    }
  }
  return DeviceCompiler::collect(name);
}

std::vector<Outcome<DeviceBinary>> CudaCompiler::compile_all(
    const std::vector<DeviceCompileJob>& jobs) {
  std::vector<Outcome<DeviceBinary>> outcomes;
  for (const uint64_t name : begin(jobs)) outcomes.push_back(collect(name));
  return outcomes;
}

Result<std::string> compile_referee(CompilePool& pool) {
  CudaJob job;
  job.source = referee_source();
  job.separate = true;
  auto outcome = pool.compile(std::move(job));
  if (outcome.has_error()) return outcome.error();
  if (outcome) return std::move(outcome->image);
  return Error{ErrorKind::kInternal,
               "our own kernels do not compile: " + verdict_evidence(outcome.verdict()), ""};
}

}  // namespace quern::cuda
