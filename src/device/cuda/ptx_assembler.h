// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace quern::cuda {

/// Makes cubins of PTX with nvJitLink, CUDA's linker, found and opened at run time. For a process
/// that may be killed: there is no deadline. Source: the nvJitLink guide, CUDA 12.0 and later.
class PtxAssembler {
 public:
  /// Errors: kEnvironment: the library does not open, or is another one.
  static Result<std::unique_ptr<PtxAssembler>> open(const std::string& path);
  ~PtxAssembler();

  /// `architecture`: "sm_90a". Errors: kInput, with the assembler's words.
  Result<std::string> assemble(const std::string& ptx, const std::string& architecture) const;

 private:
  struct Api;
  PtxAssembler();
  std::unique_ptr<Api> api_;
};

/// The path of nvJitLink (12 or 13), as `find_cuda_library` (device/cuda/blas.h).
std::string find_nvjitlink(const std::string& nvrtc_path,
                           const std::vector<std::string>& python_environments);

}  // namespace quern::cuda
