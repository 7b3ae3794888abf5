// SPDX-License-Identifier: Apache-2.0
#include "device/device_backend.h"

namespace quern {

Result<bool> DeviceBackend::all_guards_intact(const std::vector<BufferId>& ids) {
  for (const BufferId id : ids) {
    QUERN_ASSIGN(const bool intact, guards_intact(id));
    if (!intact) return false;
  }
  return true;
}

Result<void> DeviceBackend::draw(BufferId, DType, const FillSpec&, uint64_t) {
  return Error{ErrorKind::kUsage, "this device does not draw inputs", ""};
}

Result<CompareCounts> DeviceBackend::compare(const CompareOrder&) {
  return Error{ErrorKind::kUsage, "this device does not compare outputs", ""};
}

}  // namespace quern
