// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "device/device_backend.h"

namespace quern::cuda {

struct CudaBackendOptions {
  int device = 0;
  std::string driver;   ///< path of libcuda.so.1; "": the loader's
  std::string referee;  ///< cubin of the referee's kernels (referee.h)
  /// The file it is read from when the device is opened, where it is not given. Without either,
  /// `draw` and `compare` fail.
  std::string referee_path;
  std::string library;   ///< path of cuBLAS, where products of ours are to be run; "": not
  std::string counters;  ///< path of CUPTI, where hardware counters are to be read; "": not
};

/// A GPU of NVIDIA's, through the driver alone. Inputs and everything else that device code is not
/// to touch are protected page by page; neighbours of buffers are not mapped; calls below 200 µs
/// are batched in graphs. Binaries are cubins, made elsewhere (compile_pool.h).
std::unique_ptr<DeviceBackend> make_cuda_backend(CudaBackendOptions options);

}  // namespace quern::cuda
