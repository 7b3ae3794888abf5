// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/cuda/gpu.h"
#include "device/cuda/gpu_call.h"
#include "device/cuda/gpu_memory.h"
#include "device/matrix_product.h"

namespace quern::cuda {

/// NVIDIA's cuBLAS, found at run time, on our stream: the vendor's baseline of matrix products.
/// Products of f32 are computed in f32 (no tf32), as tasks demand.
class Blas {
 public:
  /// Errors: kEnvironment: `library` does not open, lacks functions (cuBLAS 12 and later have
  /// them), or does not start.
  static Result<std::unique_ptr<Blas>> open(Gpu& gpu, const std::string& library);
  ~Blas();

  /// Queues the product. A status of the driver's, since a capture may be under way.
  Status enqueue(const MatrixProduct& product, const CallBuffers& buffers) const;

 private:
  struct Api;
  explicit Blas(Gpu& gpu);
  Result<void> start();

  Gpu* gpu_;
  std::unique_ptr<Api> api_;
  void* handle_ = nullptr;
  std::optional<GpuMemory> workspace_;
};

/// The path of cuBLAS (12 or 13), as `find_cuda_library`.
std::string find_cublas(const std::string& nvrtc_path,
                        const std::vector<std::string>& python_environments);

/// A file of CUDA's that fits `pattern` ("libcublas.so.1[23]"), beside NVRTC or where toolkits and
/// Python packages have it; "": none.
std::string find_cuda_library(const std::string& pattern, const std::string& nvrtc_path,
                              const std::vector<std::string>& python_environments);

}  // namespace quern::cuda
