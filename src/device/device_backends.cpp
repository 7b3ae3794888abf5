// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"
#include "device/cuda/cuda_backend.h"
#include "device/device_backend.h"
#include "device/device_protocol.h"
#include "device/opencl/opencl_backend.h"

namespace quern {
namespace {

std::unique_ptr<DeviceBackend> make_cuda_backend(int device) {
  cuda::CudaBackendOptions options;
  options.device = device;
  options.referee_path = kWorkerKernelsFile;
  if (auto library = read_file(kWorkerLibraryFile)) options.library = *library;
  if (auto counters = read_file(kWorkerCountersFile)) options.counters = *counters;
  return cuda::make_cuda_backend(std::move(options));
}

struct Row {
  const char* kind;
  std::unique_ptr<DeviceBackend> (*make)(int device);
};

constexpr Row kBackends[] = {
    {"opencl", make_opencl_backend},
    {"cuda", make_cuda_backend},
};

}  // namespace

std::unique_ptr<DeviceBackend> make_device_backend(const std::string& kind, int device) {
  for (const Row& row : kBackends) {
    if (kind == row.kind) return row.make(device);
  }
  return nullptr;
}

}  // namespace quern
