// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "device/device_backend.h"
#include "device/opencl/opencl_api.h"

namespace quern {

/// One OpenCL device with its context and its in-order queue, for the life of the process.
struct OpenClDevice {
  /// `index` counts over all platforms, GPUs before CPUs. Errors: kEnvironment: no loader, no
  /// platform, no such device.
  static Result<OpenClDevice> open(int index);

  /// An error unless `status` is success.
  Result<void> check(cl_int status, std::string_view what) const;

  OpenClApi api;
  cl_device_id device = nullptr;
  cl_context context = nullptr;
  cl_command_queue queue = nullptr;
  DeviceProperties properties;
};

}  // namespace quern
