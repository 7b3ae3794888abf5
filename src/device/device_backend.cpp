// SPDX-License-Identifier: Apache-2.0
#include "device/device_backend.h"

#include "device/guard_finding.h"

namespace quern {

Result<bool> DeviceBackend::all_guards_intact(const std::vector<BufferId>& ids) {
  for (const BufferId id : ids) {
    QUERN_ASSIGN(const bool intact, guards_intact(id));
    if (!intact) return false;
  }
  return true;
}

std::optional<GuardFinding> DeviceBackend::caught() const { return std::nullopt; }

Result<void> DeviceBackend::draw(BufferId, const DrawOrder&) {
  return Error{ErrorKind::kUsage, "this device does not draw inputs", ""};
}

Result<void> DeviceBackend::alter(BufferId, const DrawOrder&, uint64_t) {
  return Error{ErrorKind::kUsage, "this device does not draw inputs", ""};
}

Result<Inspection> DeviceBackend::inspect(const InspectOrder& order) {
  if (!order.compares.empty() || !order.digested.empty()) {
    return Error{ErrorKind::kUsage, "this device does not compare outputs", ""};
  }
  Inspection found;
  QUERN_ASSIGN(found.intact, all_guards_intact(order.guarded));
  if (!found.intact || order.scratch_of == 0) return found;
  QUERN_ASSIGN(found.intact, scratch_guards_intact(order.scratch_of));
  return found;
}

Result<void> DeviceBackend::exchange(BufferId, BufferId) {
  return Error{ErrorKind::kUsage, "this device does not exchange buffers", ""};
}

Outcome<std::vector<double>> DeviceBackend::run_batches(ProgramId id, int calls, int first,
                                                        int batches) {
  std::vector<double> all;
  for (int batch = 0; batch < batches; ++batch) {
    auto ran = run(id, calls, first);
    if (!ran) return pass_on(ran);
    all.push_back(*ran);
  }
  return all;
}

Result<void> DeviceBackend::apply(ProgramId, uint32_t) {
  return Error{ErrorKind::kUsage, "this device runs no programs of ours", ""};
}

Outcome<Profile> DeviceBackend::profile(ProgramId) {
  return Error{ErrorKind::kEnvironment, "this kind of device has no hardware counters for us", ""};
}

}  // namespace quern
