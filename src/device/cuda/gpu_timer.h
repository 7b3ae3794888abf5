// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "device/cuda/gpu.h"

namespace quern::cuda {

/// Times on the GPU's own clock: events on its stream, one before and one after each sample, so
/// that several samples cost one wait.
class GpuTimer {
 public:
  static constexpr int kMaxSamples = 64;

  static Result<GpuTimer> make(Gpu& gpu);
  GpuTimer(GpuTimer&& other) noexcept;
  GpuTimer& operator=(GpuTimer&&) = delete;
  ~GpuTimer();

  /// Calls `enqueue` once a sample and returns the ns each took. Errors: what the driver said of
  /// any of it; a fault of device code is then in `Gpu::fault`.
  Result<std::vector<double>> measure(int samples, const std::function<Status()>& enqueue);

 private:
  explicit GpuTimer(Gpu& gpu) : gpu_(&gpu) {}
  Gpu* gpu_;
  std::vector<EventHandle> events_;
};

}  // namespace quern::cuda
