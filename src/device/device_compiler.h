// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "device/device_backend.h"

namespace quern {

/// Builds device sources, in processes of its own, and keeps what it built.
class DeviceCompiler {
 public:
  virtual ~DeviceCompiler() = default;

  /// Several at once; answers in the order of the jobs. Verdict `CompileFailed` when the source is
  /// at fault, a compiler that hangs or crashes over it included.
  virtual std::vector<Outcome<DeviceBinary>> compile_all(
      const std::vector<DeviceCompileJob>& jobs) = 0;
  virtual std::string version() const = 0;  ///< "NVRTC 13.0"
};

}  // namespace quern
