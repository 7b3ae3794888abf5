// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "device/device_worker.h"
#include "ir/program.h"
#include "verify/workload.h"

namespace quern {

/// Data sets and what they demand, in the memory of a device that draws and compares: put there
/// once, hidden from device code while a candidate runs, copied and compared without passing
/// through the host. Holds as much as fits; the caller does the rest through the host.
class DeviceData {
 public:
  /// `share`: how much of the device's memory it may take, 0–1.
  DeviceData(DeviceWorker& worker, double share);

  /// Writes the inputs of a data set into a set of buffers and makes them read-only; false when
  /// they are not on the device and do not fit.
  Outcome<bool> load(const ir::Program& program, const Workload& workload, int dataset,
                     const BufferSet& set);

  /// How one output is compared; nothing when what is expected is not on the device and does not
  /// fit.
  Outcome<std::optional<CompareOrder>> ask(const Workload& workload, int dataset, size_t output,
                                           BufferId got);

 private:
  using Key = std::tuple<const Workload*, int, size_t>;
  /// An id for a hidden copy of `bytes`, or nothing where it does not fit.
  Outcome<std::optional<BufferId>> keep(std::span<const std::byte> bytes, const std::string& name);

  DeviceWorker* worker_;
  uint64_t room_;
  BufferId next_;
  std::map<Key, BufferId> inputs_, values_, scales_;
};

/// What a device has found of an output, in the words of the host.
CompareReport report_of(const CompareCounts& counts, const ExpectedOutput& expected);

}  // namespace quern
