// SPDX-License-Identifier: Apache-2.0
#include "evaluate/device_session.h"

#include <algorithm>

#include "verify/oracle.h"

namespace quern {
namespace {

/// Of a device's memory, for data sets and what they demand; the rest is for candidates.
constexpr double kDataShare = 0.6;
/// Of a device's memory, for data sets that are put aside.
constexpr double kAsideShare = 0.15;
constexpr uint64_t kPageBytes = uint64_t{2} << 20;  // what a buffer takes at least
/// One spare more than asked for with every worker that ended, as long as their contexts, of half a
/// gigabyte each, take no more than a sixteenth of the device's memory.
constexpr uint64_t kMemoryASpare = uint64_t{8} << 30;
constexpr size_t kMostIdle = 8;  // sessions of first looks, of which several may be under way
/// A driver that was told so often to reset the L2 cache's persisting lines is replaced: from the
/// ninth time on, every launch takes 0.35 µs longer (measured on an H200).
constexpr int kMostForgets = 6;
constexpr int kAttempts = 3;  // at starting a worker, before we give up
/// Workers that a stream begins with, beside the spares: one looks, one times. They start with the
/// first spares, since nothing is timed while a context is made.
constexpr int kAtWork = 2;

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
  resident.input_bytes = inputs;
  resident.placement = placement;
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

bool DeviceSession::recall(Resident& resident, int slot, int before, int dataset) {
  auto found = resident.aside.extract({slot, dataset});
  if (found.empty()) return false;
  const std::vector<BufferId>& shown = resident.sets[static_cast<size_t>(slot)].inputs;
  for (size_t i = 0; i < shown.size(); ++i) worker_->exchange(shown[i], found.mapped()[i]);
  found.key() = {slot, before};
  resident.aside.insert(std::move(found));
  return true;
}

bool DeviceSession::put_aside(Resident& resident, int slot, int dataset) {
  uint64_t bytes = 0;
  for (const uint64_t one : resident.input_bytes) bytes += std::max(one, kPageBytes);
  const auto memory = static_cast<double>(worker_->properties().memory_bytes);
  if (aside_bytes_ + bytes > static_cast<uint64_t>(kAsideShare * memory)) return false;
  aside_bytes_ += bytes;
  const std::vector<BufferId>& shown = resident.sets[static_cast<size_t>(slot)].inputs;
  std::vector<BufferId>& aside = resident.aside[{slot, dataset}];
  for (size_t i = 0; i < shown.size(); ++i) {
    aside.push_back(++buffers_);
    worker_->allocate(buffers_, resident.input_bytes[i], resident.placement, "inputs put aside");
    worker_->exchange(shown[i], aside[i]);
  }
  return true;
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

void DeviceSession::forget_kept() {
  worker_->forget_kept();
  ++forgot_;
}

bool DeviceSession::worn() const { return forgot_ >= kMostForgets; }

Result<std::unique_ptr<DeviceSessions>> DeviceSessions::make(WorkerOptions options, int spares) {
  std::unique_ptr<DeviceSessions> sessions(new DeviceSessions(std::move(options), spares));
  // Contexts are made one after the other: others would keep the first one waiting.
  QUERN_TRY(sessions->staff(1));
  QUERN_TRY(sessions->warm_.front()->await_open());
  sessions->properties_ = sessions->warm_.front()->properties();
  return sessions;
}

DeviceSessions::~DeviceSessions() {
  for (const auto& worker : warm_) worker->doom();
  for (const auto& sessions : idle_) {
    for (const auto& session : sessions) session->worker().doom();
  }
}

Result<void> DeviceSessions::staff(int spares) {
  while (static_cast<int>(warm_.size()) < spares) {
    QUERN_ASSIGN(std::unique_ptr<DeviceWorker> worker, DeviceWorker::start(options_));
    warm_.push_back(std::move(worker));
    ++started_;
  }
  return {};
}

void DeviceSessions::await_calm() {
  gone_.clear();
  if (properties_.shares_host) return;
  std::erase_if(warm_, [](const auto& worker) { return !worker->await_open().has_value(); });
}

int DeviceSessions::wanted_spares() const {
  if (properties_.shares_host) return spares_;
  const auto room = static_cast<int>(properties_.memory_bytes / kMemoryASpare);
  const int wanted = std::max(spares_, std::min(spares_ + ended_, room));
  return started_ > 1 || spares_ == 0 ? wanted : wanted + kAtWork;
}

Result<std::unique_ptr<DeviceSession>> DeviceSessions::take(Use use) {
  std::erase_if(gone_, [](const auto& session) { return session->worker().gone(); });
  for (auto& kept = idle(use); !kept.empty();) {
    std::unique_ptr<DeviceSession> session = std::move(kept.back());
    kept.pop_back();
    // One that was killed from outside while it waited has not said so.
    if (!session->worker().gone() && session->worker().settle()) return session;
  }
  // What the one before it held may leave too little memory for another.
  if (use == Use::kTiming) gone_.clear();
  return take_warm();
}

Result<std::unique_ptr<DeviceSession>> DeviceSessions::take_warm() {
  Error last;
  // What killed one of them may have killed all.
  std::erase_if(warm_, [](const auto& worker) { return worker->gone(); });
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    QUERN_TRY(staff(1));
    std::unique_ptr<DeviceWorker> worker = std::move(warm_.front());
    warm_.pop_front();
    // A worker ends with the thread that started it, and one that waited may have been killed.
    if (auto opened = worker->await_open(); !opened) {
      last = opened.error();
    } else if (worker->gone() || !worker->settle()) {
      last = Error{ErrorKind::kEnvironment, "a device worker ended while it waited", ""};
    } else {
      QUERN_TRY(staff(wanted_spares()));
      return std::make_unique<DeviceSession>(std::move(worker));
    }
  }
  return last;
}

void DeviceSessions::give_back(std::unique_ptr<DeviceSession> session, Use use) {
  if (session == nullptr) return;
  const bool usable = session->worker().usable();
  const size_t most = use == Use::kTiming ? 1 : kMostIdle;  // what is timed may take much memory
  const bool keeps = usable && !properties_.shares_host && !session->worn();
  if (keeps && idle(use).size() < most) {
    idle(use).push_back(std::move(session));
    return;
  }
  if (!usable) ++ended_;
  session->worker().doom();
  gone_.push_back(std::move(session));
}

}  // namespace quern
