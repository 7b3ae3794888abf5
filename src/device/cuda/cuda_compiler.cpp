// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/cuda_compiler.h"

#include "device/cuda/cuda_source.h"
#include "device/cuda/referee.h"

namespace quern::cuda {

std::vector<Outcome<DeviceBinary>> CudaCompiler::compile_all(
    const std::vector<DeviceCompileJob>& jobs) {
  std::vector<CudaJob> list;
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
    list.push_back(std::move(made));
  }
  std::vector<Outcome<DeviceBinary>> outcomes;
  for (Outcome<CudaBinary>& outcome : pool_->compile_all(std::move(list))) {
    if (outcome) {
      outcomes.emplace_back(DeviceBinary{std::move(outcome->image), std::move(outcome->build)});
    } else {
      outcomes.emplace_back(pass_on(outcome));
    }
  }
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
