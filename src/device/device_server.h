// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "base/frame.h"
#include "device/device_backend.h"
#include "device/staging.h"

namespace quern {

/// The worker's side of the protocol: turns orders into calls of a backend, one after the other.
class DeviceServer {
 public:
  /// `confine` is called once, as soon as the device is open.
  DeviceServer(DeviceBackend& backend, Staging staging, std::function<void()> confine)
      : backend_(backend), staging_(std::move(staging)), confine_(std::move(confine)) {}

  /// The reply to one order. A frame that is not one of ours gets an error for an answer.
  Frame answer(const Frame& order);

  /// Serves until the other side closes. The process's exit code. `look_s`: how long after an
  /// order the next one is looked for before we sleep.
  int serve(int orders, int replies, double look_s = 0);

 private:
  Frame dispatch(const Frame& order);
  Frame memory_order(uint32_t order, std::string_view arguments);
  Frame program_order(uint32_t order, std::string_view arguments, const Frame& frame);

  DeviceBackend& backend_;
  Staging staging_;
  std::function<void()> confine_;
};

}  // namespace quern
