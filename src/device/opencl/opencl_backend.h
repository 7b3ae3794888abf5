// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "device/device_backend.h"

namespace quern {

/// A device behind the OpenCL ICD loader, counted over all platforms, GPUs first.
std::unique_ptr<DeviceBackend> make_opencl_backend(int device);

}  // namespace quern
