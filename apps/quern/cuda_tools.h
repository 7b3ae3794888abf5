// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "context.h"
#include "device/cuda/compile_pool.h"
#include "device/cuda/gpu.h"
#include "record/evaluator.h"
#include "task_source.h"

namespace quern::cli {

/// Python environments whose packages may hold NVRTC or nvdisasm: the project's own, and the one
/// that is active.
std::vector<std::string> python_environments(const Context& context);

/// A pool that compiles for the first GPU, or for `architecture` if given; without either, for
/// sm_90a. Errors: no NVRTC, with every place looked in.
Result<std::unique_ptr<cuda::CompilePool>> make_compile_pool(const Context& context,
                                                             const std::string& architecture,
                                                             int workers);

/// The referee of a task on GPUs of NVIDIA's, by number; on all that are like the first, where none
/// are given. Errors: no driver, no such GPU, GPUs of several models, no NVRTC.
Result<std::unique_ptr<Evaluator>> make_cuda_evaluator(const Context& context,
                                                       const TaskAtSize& task,
                                                       const RunOptions& options,
                                                       const std::vector<int>& devices,
                                                       const std::string& guard);

/// What `quern doctor` says of CUDA, one row each.
struct CudaFinding {
  std::string name;
  bool ok = false;
  std::string detail, remedy;
};
std::vector<CudaFinding> cuda_findings(const Context& context);

}  // namespace quern::cli
