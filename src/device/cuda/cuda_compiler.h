// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "device/cuda/compile_pool.h"
#include "device/device_compiler.h"

namespace quern::cuda {

/// The compile pool as device evaluators want it: a thread of its own tends it, so that what was
/// begun goes on whatever else is done. A header of a job that is the pool's prelude is taken
/// precompiled.
class CudaCompiler : public DeviceCompiler {
 public:
  explicit CudaCompiler(std::unique_ptr<CompilePool> pool);
  ~CudaCompiler() override;
  CudaCompiler(const CudaCompiler&) = delete;
  CudaCompiler& operator=(const CudaCompiler&) = delete;

  std::vector<Outcome<DeviceBinary>> compile_all(
      const std::vector<DeviceCompileJob>& jobs) override;
  std::vector<uint64_t> begin(const std::vector<DeviceCompileJob>& jobs) override;
  bool ready(uint64_t name) override;
  Outcome<DeviceBinary> collect(uint64_t name) override;
  std::string version() const override { return version_; }

 private:
  void tend();
  CudaJob job_of(const DeviceCompileJob& job) const;

  std::unique_ptr<CompilePool> pool_;  ///< the thread's, once it runs
  std::string version_, prelude_;
  std::mutex mutex_;  ///< of what follows, and of `waiting_`
  std::condition_variable came_, finished_;
  std::deque<std::pair<uint64_t, CudaJob>> inbox_;  ///< begun, by name
  uint64_t begun_ = 0;
  bool ends_ = false;
  std::thread thread_;
};

/// The cubin of the referee's own kernels (referee.h). Errors: the compiler's, which are ours.
Result<std::string> compile_referee(CompilePool& pool);

}  // namespace quern::cuda
