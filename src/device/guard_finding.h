// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "device/fault_report.h"
#include "record/verdict.h"

namespace quern {

/// What the guards of a program caught, before it reached the device.
struct GuardFinding {
  enum class Kind : uint32_t { kOutside = 1, kReadOnly, kMisaligned, kTrap, kAssertion, kDeadline };
  Kind kind = Kind::kOutside;
  std::string kernel, instruction;  ///< "relu", "st.global.v4.f32"
  bool writes = false;
  uint32_t bytes = 0;
  uint64_t address = 0;
  std::array<uint32_t, 3> block{}, thread{};
  FaultReport::Place place = FaultReport::Place::kElsewhere;
  BufferId buffer = 0;    ///< the nearest, unless it is elsewhere
  uint64_t distance = 0;  ///< as `FaultReport`'s
  double limit_s = 0;     ///< kDeadline
};

template <class W>
void wire(W& w, GuardFinding& f) {
  w(f.kind), w(f.kernel), w(f.instruction), w(f.writes), w(f.bytes), w(f.address);
  w(f.block), w(f.thread), w(f.place), w(f.buffer), w(f.distance), w(f.limit_s);
}

/// The verdict that the fault would have given, with the place in the code and the thread.
/// `name_of`: a buffer's name, "output y".
Verdict guard_verdict(const GuardFinding& finding,
                      const std::function<std::string(BufferId)>& name_of);

}  // namespace quern
