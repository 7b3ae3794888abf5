// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "record/bound_plan.h"
#include "record/json.h"

namespace quern {

/// A kernel for a GPU of NVIDIA's as it was measured: machine code, and how it is launched.
struct CudaCode {
  std::string cubin;         ///< bytes
  std::string architecture;  ///< that it was made for: "sm_90a"
  BoundPlan plan;
  /// Bytes of every parameter, by kernel.
  std::map<std::string, std::vector<uint32_t>> parameters;
  std::string gpu;  ///< that it was measured on; "" where that is not known
};

/// What the templates of the launcher (export/cuda_*.mustache) need beside the page data: kernels,
/// steps, scratch, tensor maps, the compute capability. `inputs`, `outputs`: how many the task has.
/// Errors: kInput where plan and machine code do not fit one another.
Result<Json> launcher_json(const CudaCode& code, size_t inputs, size_t outputs);

/// The cubin as a C array of 64-bit words, `cubin`.
std::string cubin_text(const std::string& cubin);

}  // namespace quern
