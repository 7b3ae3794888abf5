// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/gpu_timer.h"

#include "base/check.h"

namespace quern::cuda {

Result<GpuTimer> GpuTimer::make(Gpu& gpu) {
  GpuTimer timer(gpu);
  for (int i = 0; i <= kMaxSamples; ++i) {
    EventHandle event = nullptr;
    QUERN_TRY(gpu.check(gpu.driver().event_create(&event, 0), "an event"));
    timer.events_.push_back(event);
  }
  return timer;
}

GpuTimer::GpuTimer(GpuTimer&& other) noexcept
    : gpu_(other.gpu_), events_(std::move(other.events_)) {}

GpuTimer::~GpuTimer() {
  if (gpu_->fault() != kSuccess) return;
  for (EventHandle event : events_) (void)gpu_->driver().event_destroy(event);
}

Result<std::vector<double>> GpuTimer::measure(int samples, const std::function<Status()>& enqueue) {
  QUERN_CHECK(samples >= 1 && samples <= kMaxSamples, "a timer takes 1 to 64 samples at once");
  const Driver& api = gpu_->driver();
  QUERN_TRY(gpu_->check(api.event_record(events_[0], gpu_->stream()), "timing"));
  for (int i = 1; i <= samples; ++i) {
    QUERN_TRY(gpu_->check(enqueue(), "timing"));
    QUERN_TRY(
        gpu_->check(api.event_record(events_[static_cast<size_t>(i)], gpu_->stream()), "timing"));
  }
  QUERN_TRY(gpu_->synchronize("timing"));
  std::vector<double> ns;
  for (size_t i = 1; i <= static_cast<size_t>(samples); ++i) {
    float ms = 0;
    QUERN_TRY(gpu_->check(api.event_elapsed(&ms, events_[i - 1], events_[i]), "timing"));
    ns.push_back(static_cast<double>(ms) * 1e6);
  }
  return ns;
}

}  // namespace quern::cuda
