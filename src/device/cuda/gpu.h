// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/cuda/driver.h"
#include "device/cuda/occupancy.h"

namespace quern::cuda {

/// What a GPU is. Rates are the driver's nominal figures; measured ones: `measure_gpu`.
struct GpuProperties {
  int ordinal = 0;
  std::string name, uuid;
  int major = 0, minor = 0;  ///< compute capability
  int driver_version = 0;    ///< 13000 for CUDA 13.0
  int64_t memory_bytes = 0, l2_bytes = 0;
  int multiprocessors = 0;
  int clock_khz = 0, memory_clock_khz = 0, memory_bus_bits = 0;
  int max_threads_per_block = 0, max_threads_per_multiprocessor = 0;
  int max_blocks_per_multiprocessor = 0, registers_per_multiprocessor = 0;
  int64_t shared_per_block = 0, shared_per_block_opt_in = 0, shared_per_multiprocessor = 0;
  bool clusters = false, virtual_memory = false;

  std::string architecture() const;  ///< "sm_90a"
  MultiprocessorLimits limits() const;
};

/// The properties of every GPU that the driver shows, without making a context.
Result<std::vector<GpuProperties>> list_gpus(const Driver& driver);

/// A GPU with its primary context, current in the thread that opened it, and one stream that all
/// our work goes to. One per process; not thread-safe. A fault of device code loses it for the rest
/// of the process: `lost` then says so, and every call fails.
class Gpu {
 public:
  /// Takes 250 to 400 ms, most of it in the driver. Errors: kEnvironment: no such GPU, or one
  /// without virtual memory management.
  static Result<std::unique_ptr<Gpu>> open(std::unique_ptr<Driver> driver, int ordinal);
  ~Gpu();

  const Driver& driver() const { return *driver_; }
  const GpuProperties& properties() const { return properties_; }
  StreamHandle stream() const { return stream_; }
  /// Bytes that memory is mapped in.
  uint64_t granularity() const { return granularity_; }

  /// An error unless `status` is success; remembers a fault of device code.
  Result<void> check(Status status, std::string_view what);
  /// Waits for everything queued.
  Result<void> synchronize(std::string_view what);
  Status fault() const { return fault_; }  ///< what device code died of; 0 while all is well

  Result<uint64_t> free_memory();

 private:
  Gpu() = default;
  std::unique_ptr<Driver> driver_;
  GpuProperties properties_;
  ContextHandle context_ = nullptr;
  StreamHandle stream_ = nullptr;
  uint64_t granularity_ = 0;
  Status fault_ = kSuccess;
};

}  // namespace quern::cuda
