// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/cuda_compiler.h"

#include <map>

#include "base/check.h"
#include "device/cuda/cuda_source.h"
#include "device/cuda/referee.h"

namespace quern::cuda {

namespace {

constexpr double kLookS = 2e-3;  // for new jobs, while others are under way

}  // namespace

CudaCompiler::CudaCompiler(std::unique_ptr<CompilePool> pool)
    : pool_(std::move(pool)), version_(pool_->version()), prelude_(pool_->prelude()) {
  thread_ = std::thread([this] { tend(); });
}

CudaCompiler::~CudaCompiler() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  came_.notify_all();
  thread_.join();
}

/// Hands jobs to the pool and takes what it has made, until the end.
void CudaCompiler::tend() {
  std::map<CompilePool::Ticket, uint64_t> names;
  pool_->warm();
  while (true) {
    std::deque<std::pair<uint64_t, CudaJob>> jobs;
    {
      std::unique_lock lock(mutex_);
      came_.wait(lock, [&] { return ends_ || !inbox_.empty() || !names.empty(); });
      if (ends_) return;
      jobs.swap(inbox_);
    }
    for (auto& [name, job] : jobs) names[pool_->submit(std::move(job))] = name;
    while (auto made = pool_->next(names.empty() ? 0 : kLookS)) {
      const uint64_t name = names.extract(made->ticket).mapped();
      Outcome<CudaBinary>& outcome = made->outcome;
      const std::lock_guard lock(mutex_);
      if (outcome) {
        waiting_.emplace(name, DeviceBinary{std::move(outcome->image), std::move(outcome->build),
                                            std::move(outcome->ptx)});
      } else {
        waiting_.emplace(name, pass_on(outcome));
      }
      finished_.notify_all();
      if (ends_ || !inbox_.empty()) break;
    }
  }
}

CudaJob CudaCompiler::job_of(const DeviceCompileJob& job) const {
  CudaJob made;
  made.source = job.source;
  made.guards = job.guards;
  made.macros = job.macros;
  for (const auto& header : job.headers) {
    if (header.first != kPreludeName || header.second != prelude_) made.headers.push_back(header);
  }
  made.fast_math = job.fast_math;
  made.max_registers = job.max_registers;
  made.ours = job.ours;
  made.turn = job.turn;
  return made;
}

std::vector<uint64_t> CudaCompiler::begin(const std::vector<DeviceCompileJob>& jobs) {
  std::vector<uint64_t> names;
  {
    const std::lock_guard lock(mutex_);
    for (const DeviceCompileJob& job : jobs) {
      names.push_back(++begun_);
      inbox_.emplace_back(begun_, job_of(job));
    }
  }
  came_.notify_all();
  return names;
}

bool CudaCompiler::ready(uint64_t name) {
  const std::lock_guard lock(mutex_);
  return waiting_.contains(name);
}

Outcome<DeviceBinary> CudaCompiler::collect(uint64_t name) {
  std::unique_lock lock(mutex_);
  QUERN_CHECK(name >= 1 && name <= begun_, "a build that was not begun");
  finished_.wait(lock, [&] { return waiting_.contains(name); });
  return DeviceCompiler::collect(name);
}

std::vector<Outcome<DeviceBinary>> CudaCompiler::compile_all(
    const std::vector<DeviceCompileJob>& jobs) {
  std::vector<Outcome<DeviceBinary>> outcomes;
  for (const uint64_t name : begin(jobs)) outcomes.push_back(collect(name));
  return outcomes;
}

Result<std::string> compile_referee(CompilePool& pool) {
  CudaJob job;
  job.source = referee_source();
  job.separate = true;
  auto outcome = pool.compile(std::move(job));
  if (outcome.has_error()) return outcome.error();
  if (outcome) return std::move(outcome->image);
  return Error{ErrorKind::kInternal,
               "our own kernels do not compile: " + verdict_evidence(outcome.verdict()), ""};
}

}  // namespace quern::cuda
