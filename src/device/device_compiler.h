// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
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
  /// Begins jobs and names each; compiling goes on while other work is done. Every name is to be
  /// collected once.
  virtual std::vector<uint64_t> begin(const std::vector<DeviceCompileJob>& jobs);
  /// Whether a job is done, so that `collect` need not wait.
  virtual bool ready(uint64_t name) { return waiting_.contains(name); }
  /// Waits for one job.
  virtual Outcome<DeviceBinary> collect(uint64_t name);

  virtual std::string version() const = 0;  ///< "NVRTC 13.0"

 protected:
  /// Outcomes that are there and not collected, by name.
  std::map<uint64_t, Outcome<DeviceBinary>> waiting_;

 private:
  uint64_t last_name_ = 0;
};

}  // namespace quern
