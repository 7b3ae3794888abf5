// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device/cuda/compile_pool.h"
#include "device/device_compiler.h"

namespace quern::cuda {

/// The compile pool as device evaluators want it. A header of a job that is the pool's prelude is
/// taken precompiled.
class CudaCompiler : public DeviceCompiler {
 public:
  explicit CudaCompiler(std::unique_ptr<CompilePool> pool) : pool_(std::move(pool)) {}

  std::vector<Outcome<DeviceBinary>> compile_all(
      const std::vector<DeviceCompileJob>& jobs) override;
  std::vector<uint64_t> begin(const std::vector<DeviceCompileJob>& jobs) override;
  Outcome<DeviceBinary> collect(uint64_t name) override;
  std::string version() const override { return pool_->version(); }

 private:
  std::unique_ptr<CompilePool> pool_;
};

/// The cubin of the referee's own kernels (referee.h). Errors: the compiler's, which are ours.
Result<std::string> compile_referee(CompilePool& pool);

}  // namespace quern::cuda
