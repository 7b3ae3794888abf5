// SPDX-License-Identifier: Apache-2.0
#include "device/device_compiler.h"

namespace quern {

std::vector<uint64_t> DeviceCompiler::begin(const std::vector<DeviceCompileJob>& jobs) {
  std::vector<uint64_t> names;
  for (Outcome<DeviceBinary>& outcome : compile_all(jobs)) {
    names.push_back(++last_name_);
    waiting_.emplace(names.back(), std::move(outcome));
  }
  return names;
}

Outcome<DeviceBinary> DeviceCompiler::collect(uint64_t name) {
  auto found = waiting_.find(name);
  QUERN_CHECK(found != waiting_.end(), "a build that was not begun, or was collected");
  Outcome<DeviceBinary> outcome = std::move(found->second);
  waiting_.erase(found);
  return outcome;
}

}  // namespace quern
