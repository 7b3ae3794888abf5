// SPDX-License-Identifier: Apache-2.0
#include "device/windowed_compiler.h"

#include "base/check.h"

namespace quern {

/// What was begun is to be collected, also when nobody waits for it any more.
WindowedCompiler::~WindowedCompiler() {
  for (const auto& [mine, name] : theirs_) (void)compiler_->collect(name);
}

std::vector<uint64_t> WindowedCompiler::begin(const std::vector<DeviceCompileJob>& jobs) {
  std::vector<uint64_t> names;
  for (const DeviceCompileJob& job : jobs) {
    names.push_back(++begun_);
    DeviceCompileJob mine = job;
    // Others' first jobs go before our second ones.
    mine.turn = begun_;
    // Guards are wanted for candidates whose turn it is.
    if (job.guards) {
      theirs_[begun_] = compiler_->begin({std::move(mine)}).front();
    } else {
      waiting_jobs_.emplace_back(begun_, std::move(mine));
    }
  }
  hand_on();
  return names;
}

void WindowedCompiler::hand_on() {
  while (!waiting_jobs_.empty() && theirs_.size() < window_) {
    auto& [mine, job] = waiting_jobs_.front();
    theirs_[mine] = compiler_->begin({std::move(job)}).front();
    waiting_jobs_.pop_front();
  }
}

bool WindowedCompiler::ready(uint64_t name) {
  const auto found = theirs_.find(name);
  return found != theirs_.end() && compiler_->ready(found->second);
}

Outcome<DeviceBinary> WindowedCompiler::collect(uint64_t name) {
  for (auto job = waiting_jobs_.begin(); job != waiting_jobs_.end(); ++job) {
    if (job->first != name) continue;
    theirs_[name] = compiler_->begin({std::move(job->second)}).front();
    waiting_jobs_.erase(job);
    break;
  }
  const auto found = theirs_.find(name);
  QUERN_CHECK(found != theirs_.end(), "a build that was not begun, or was collected");
  auto outcome = compiler_->collect(found->second);
  theirs_.erase(found);
  hand_on();
  return outcome;
}

}  // namespace quern
