// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
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
    std::vector<uint64_t> input_bytes;
    Placement placement = Placement::kLeft;
    /// Inputs that a slot held, by slot and data set; hidden from candidates.
    std::map<std::pair<int, int>, std::vector<BufferId>> aside;
  };

  explicit DeviceSession(std::unique_ptr<DeviceWorker> worker) : worker_(std::move(worker)) {}

  DeviceWorker& worker() { return *worker_; }
  bool is_new() const { return residents_.empty(); }  ///< nothing lies on the device yet
  /// The buffers of a workload, allocated at its first use.
  Resident& resident(const ir::Program& program, const Workload& workload, int slots,
                     Placement placement);
  /// Puts a data set that a slot held once back under the slot's addresses, by exchanging memory,
  /// and what it holds now aside; false when it is not there.
  bool recall(Resident& resident, int slot, int before, int dataset);
  /// Puts what a slot holds aside, which leaves its inputs undefined; false when that does not fit.
  bool put_aside(Resident& resident, int slot, int dataset);
  /// Data sets on the device itself; null where it cannot compare.
  DeviceData* data();
  /// What compares the outputs of a workload that is drawn on the device, made at its first use.
  Outcome<ResidentOracle*> oracle(const ir::Program& program, const Workload& workload,
                                  const BuiltOracle::Bound& oracle, const Resident& resident);
  ProgramId next_program() { return ++programs_; }
  /// Ends what the last candidate asked caches to keep.
  void forget_kept();
  /// Whether its launches may take longer than a new worker's.
  bool worn() const;

 private:
  std::unique_ptr<DeviceWorker> worker_;
  std::map<const Workload*, Resident> residents_;
  std::unique_ptr<DeviceData> data_;
  std::map<const Workload*, std::unique_ptr<ResidentOracle>> oracles_;
  BufferId buffers_ = 0;
  ProgramId programs_ = 0;
  uint64_t aside_bytes_ = 0;
  int forgot_ = 0;  ///< times that caches were told to forget
};

/// Workers at work, others warm in their place when they end: taking a device takes a worker longer
/// than judging a candidate takes us. Not thread-safe; the thread that calls it must outlive it.
class DeviceSessions {
 public:
  /// What a session is for. Each has its own data on the device, and what ends one session costs
  /// the other nothing.
  enum class Use { kFirstLook, kTiming };

  /// Takes the device once, to know it. `spares`: workers that are warm; more of them the more
  /// workers end. Errors: kEnvironment: no device, no driver.
  static Result<std::unique_ptr<DeviceSessions>> make(WorkerOptions options, int spares);

  /// Ends all workers at once: a driver takes a tenth of a second to let go of a context.
  ~DeviceSessions();
  DeviceSessions(const DeviceSessions&) = delete;
  DeviceSessions& operator=(const DeviceSessions&) = delete;

  const DeviceProperties& properties() const { return properties_; }
  /// One that is ready; its place is filled in the background.
  Result<std::unique_ptr<DeviceSession>> take(Use use = Use::kTiming);
  /// Kept for the next candidate, unless it ended, or held a candidate that could have tampered
  /// with it.
  void give_back(std::unique_ptr<DeviceSession> session, Use use = Use::kTiming);
  /// Waits until workers that have ended let go of the device and, where it has memory of its own,
  /// until spares have taken it: what they do meanwhile would disturb what is timed.
  void await_calm();
  int started() const { return started_; }  ///< workers so far

 private:
  DeviceSessions(WorkerOptions options, int spares)
      : options_(std::move(options)), spares_(spares) {}
  Result<void> staff(int spares);
  Result<std::unique_ptr<DeviceSession>> take_warm();
  int wanted_spares() const;
  std::vector<std::unique_ptr<DeviceSession>>& idle(Use use) {
    return idle_[static_cast<size_t>(use)];
  }

  WorkerOptions options_;
  int spares_;
  int started_ = 0;
  int ended_ = 0;  ///< workers that candidates ended
  DeviceProperties properties_;
  std::array<std::vector<std::unique_ptr<DeviceSession>>, 2> idle_;  ///< by use
  std::deque<std::unique_ptr<DeviceWorker>> warm_;
  std::vector<std::unique_ptr<DeviceSession>> gone_;  ///< being ended
};

}  // namespace quern
