// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device/device_worker.h"
#include "evaluate/device_data.h"
#include "evaluate/resident_oracle.h"
#include "verify/workload.h"

namespace quern {

/// A device worker, and what of our workloads lies in its device's memory: between two candidates
/// the buffers stay, and the inputs in them.
class DeviceSession {
 public:
  /// The buffers of one workload. `assigned`: the data set each slot holds; -1: none.
  struct Resident {
    std::vector<BufferSet> sets;
    std::vector<int> assigned;
  };

  explicit DeviceSession(std::unique_ptr<DeviceWorker> worker) : worker_(std::move(worker)) {}

  DeviceWorker& worker() { return *worker_; }
  /// The buffers of a workload, allocated at its first use.
  Resident& resident(const ir::Program& program, const Workload& workload, int slots,
                     Placement placement);
  /// Data sets on the device itself; null where it cannot compare.
  DeviceData* data();
  /// What compares the outputs of a workload that is drawn on the device, made at its first use.
  Outcome<ResidentOracle*> oracle(const ir::Program& program, const Workload& workload,
                                  const BuiltOracle::Bound& oracle, const Resident& resident);
  ProgramId next_program() { return ++programs_; }

 private:
  std::unique_ptr<DeviceWorker> worker_;
  std::map<const Workload*, Resident> residents_;
  std::unique_ptr<DeviceData> data_;
  std::map<const Workload*, std::unique_ptr<ResidentOracle>> oracles_;
  BufferId buffers_ = 0;
  ProgramId programs_ = 0;
};

/// One worker at work, others warm in its place when it ends: taking a device takes a worker longer
/// than judging a candidate takes us. Not thread-safe; the thread that calls it must outlive it.
class DeviceSessions {
 public:
  /// Takes the device once, to know it. Errors: kEnvironment: no device, no driver.
  static Result<std::unique_ptr<DeviceSessions>> make(WorkerOptions options, int spares);

  const DeviceProperties& properties() const { return properties_; }
  /// One that is ready; its place is filled in the background.
  Result<std::unique_ptr<DeviceSession>> take();
  /// Kept for the next candidate, unless it ended, or held a candidate that could have tampered
  /// with it.
  void give_back(std::unique_ptr<DeviceSession> session);
  int started() const { return started_; }  ///< workers so far

 private:
  DeviceSessions(WorkerOptions options, int spares)
      : options_(std::move(options)), spares_(spares) {}
  Result<void> staff();

  WorkerOptions options_;
  int spares_;
  int started_ = 0;
  DeviceProperties properties_;
  std::unique_ptr<DeviceSession> idle_;
  std::deque<std::unique_ptr<DeviceWorker>> warm_;
};

}  // namespace quern
