// SPDX-License-Identifier: Apache-2.0
#include "evaluate/device_session.h"

#include "verify/oracle.h"

namespace quern {
namespace {

/// Of a device's memory, for data sets and what they demand; the rest is for candidates.
constexpr double kDataShare = 0.6;
constexpr int kAttempts = 3;  // at starting a worker, before we give up

}  // namespace

DeviceData* DeviceSession::data() {
  if (!worker_->properties().compares) return nullptr;
  if (data_ == nullptr) data_ = std::make_unique<DeviceData>(*worker_, kDataShare);
  return data_.get();
}

DeviceSession::Resident& DeviceSession::resident(const ir::Program& program,
                                                 const Workload& workload, int slots,
                                                 Placement placement) {
  Resident& resident = residents_[&workload];
  if (!resident.sets.empty()) return resident;
  const std::vector<uint64_t> inputs = input_bytes(program, workload.sizes);
  const std::vector<uint64_t> outputs = output_bytes(program, workload.sizes);
  const auto written = program.outputs();
  for (int slot = 0; slot < slots; ++slot) {
    BufferSet set;
    for (size_t i = 0; i < inputs.size(); ++i) {
      set.inputs.push_back(++buffers_);
      worker_->allocate(buffers_, inputs[i], placement, "input " + program.inputs[i].name);
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      set.outputs.push_back(++buffers_);
      worker_->allocate(buffers_, outputs[i], placement, "output " + written[i]->name);
    }
    resident.sets.push_back(std::move(set));
  }
  resident.assigned.assign(static_cast<size_t>(slots), -1);
  return resident;
}

Outcome<ResidentOracle*> DeviceSession::oracle(const ir::Program& program, const Workload& workload,
                                               const BuiltOracle::Bound& oracle,
                                               const Resident& resident) {
  std::unique_ptr<ResidentOracle>& made = oracles_[&workload];
  if (made == nullptr) {
    const auto memory = static_cast<double>(worker_->properties().memory_bytes);
    auto making = ResidentOracle::make(
        *worker_, program, workload, oracle, resident.sets,
        static_cast<uint64_t>(kDataShare * memory), [this] { return ++buffers_; },
        [this] { return ++programs_; });
    if (!making) return pass_on(making);
    made = std::move(*making);
  }
  return made.get();
}

Result<std::unique_ptr<DeviceSessions>> DeviceSessions::make(WorkerOptions options, int spares) {
  std::unique_ptr<DeviceSessions> sessions(new DeviceSessions(std::move(options), spares));
  QUERN_TRY(sessions->staff());
  QUERN_TRY(sessions->warm_.front()->await_open());
  sessions->properties_ = sessions->warm_.front()->properties();
  return sessions;
}

Result<void> DeviceSessions::staff() {
  while (static_cast<int>(warm_.size()) <= spares_) {
    QUERN_ASSIGN(std::unique_ptr<DeviceWorker> worker, DeviceWorker::start(options_));
    warm_.push_back(std::move(worker));
    ++started_;
  }
  return {};
}

Result<std::unique_ptr<DeviceSession>> DeviceSessions::take() {
  if (idle_ != nullptr && idle_->worker().settle()) return std::move(idle_);
  idle_.reset();
  Error last;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    QUERN_TRY(staff());
    std::unique_ptr<DeviceWorker> worker = std::move(warm_.front());
    warm_.pop_front();
    // A worker ends with the thread that started it, and one that waited may have been killed.
    if (auto opened = worker->await_open(); !opened) {
      last = opened.error();
    } else if (auto settled = worker->settle(); !settled) {
      last = Error{ErrorKind::kEnvironment, "a device worker ended while it waited", ""};
    } else {
      QUERN_TRY(staff());
      return std::make_unique<DeviceSession>(std::move(worker));
    }
  }
  return last;
}

void DeviceSessions::give_back(std::unique_ptr<DeviceSession> session) {
  if (session == nullptr || properties_.shares_host || !session->worker().usable()) return;
  idle_ = std::move(session);
}

}  // namespace quern
