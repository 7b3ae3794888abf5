// SPDX-License-Identifier: Apache-2.0
#include "device/worker_compiler.h"

#include <poll.h>

#include <algorithm>

#include "base/file.h"
#include "base/hash.h"
#include "device/device_protocol.h"

namespace quern {
namespace {

constexpr const char* kFormat = "1";  // of the files in the cache
constexpr int kLookMs = 100;          // how often deadlines are looked at

}  // namespace

Result<std::unique_ptr<WorkerCompiler>> WorkerCompiler::make(WorkerCompilerOptions options) {
  options.worker.compiles = true;
  QUERN_TRY(make_directories(options.cache_dir));
  std::unique_ptr<WorkerCompiler> compiler(new WorkerCompiler(std::move(options)));
  compiler->seats_.resize(static_cast<size_t>(std::max(1, compiler->options_.workers)));
  QUERN_TRY(compiler->staff(compiler->seats_.front()));
  compiler->properties_ = compiler->seats_.front().worker->properties();
  return compiler;
}

/// Sees to it that a seat has a worker that is ready.
Result<void> WorkerCompiler::staff(Seat& seat) {
  if (seat.worker != nullptr && seat.worker->usable() && seat.compiled < options_.recycle_after) {
    return {};
  }
  seat.worker.reset();
  seat.compiled = 0;
  QUERN_ASSIGN(seat.worker, DeviceWorker::start(options_.worker));
  return seat.worker->await_open();
}

std::string WorkerCompiler::key_of(const DeviceCompileJob& job) const {
  DeviceProperties device = properties_;
  Hasher hasher;
  hasher.add(kFormat).add(device.platform).add(device.driver).add(device.architecture);
  hasher.add(to_wire(job));
  return hasher.hex();
}

std::string WorkerCompiler::path_of(const std::string& key) const {
  return options_.cache_dir + "/" + key.substr(0, 2) + "/" + key + ".device";
}

std::optional<Outcome<DeviceBinary>> WorkerCompiler::find(const std::string& key) const {
  const auto text = read_file(path_of(key));
  if (!text) return std::nullopt;
  auto kept = from_wire<bool, DeviceBinary, std::string, std::string>(*text);
  if (!kept) return std::nullopt;
  auto& [built, binary, reason, evidence] = *kept;
  if (!built) return Outcome<DeviceBinary>(Verdict(CompileFailed{reason, evidence}));
  binary.build.cached = true;
  return Outcome<DeviceBinary>(std::move(binary));
}

/// Keeps binaries and diagnostics. A file that cannot be written is done without.
void WorkerCompiler::keep(const std::string& key, const Outcome<DeviceBinary>& outcome) const {
  if (outcome.has_error()) return;
  DeviceBinary binary;
  std::string reason, evidence;
  if (outcome.has_value()) {
    binary = outcome.value();
  } else {
    reason = verdict_reason(outcome.verdict());
    evidence = verdict_evidence(outcome.verdict());
  }
  if (!make_directories(options_.cache_dir + "/" + key.substr(0, 2))) return;
  (void)write_file_atomic(path_of(key), to_wire(outcome.has_value(), binary, reason, evidence));
}

/// Until a compiler may have something to say.
void WorkerCompiler::wait() const {
  std::vector<pollfd> files;
  for (const Seat& seat : seats_) {
    if (seat.job) files.push_back({seat.worker->reply_fd(), POLLIN, 0});
  }
  poll(files.data(), files.size(), kLookMs);
}

std::vector<Outcome<DeviceBinary>> WorkerCompiler::compile_all(
    const std::vector<DeviceCompileJob>& jobs) {
  const Error unanswered{ErrorKind::kInternal, "a source was not compiled", ""};
  std::vector<Outcome<DeviceBinary>> outcomes(jobs.size(), Outcome<DeviceBinary>(unanswered));
  std::vector<std::string> keys;
  std::deque<size_t> queue;
  for (size_t i = 0; i < jobs.size(); ++i) {
    keys.push_back(key_of(jobs[i]));
    if (auto known = find(keys.back())) {
      outcomes[i] = std::move(*known);
    } else {
      queue.push_back(i);
    }
  }
  size_t busy = 0;
  while (!queue.empty() || busy > 0) {
    for (Seat& seat : seats_) {
      if (seat.job || queue.empty()) continue;
      const size_t next = queue.front();
      queue.pop_front();
      if (const auto staffed = staff(seat); !staffed) {
        outcomes[next] = staffed.error();
        continue;
      }
      seat.worker->post_compile(jobs[next]);
      seat.job = next;
      ++busy;
    }
    if (busy > 0) wait();
    for (Seat& seat : seats_) {
      if (!seat.job) continue;
      auto outcome = seat.worker->collect(options_.deadline_s);
      if (!outcome) continue;
      // What a deadline or a crash ended is not kept: it may be the machine's mood.
      if (seat.worker->usable()) keep(keys[*seat.job], *outcome);
      outcomes[*seat.job] = std::move(*outcome);
      seat.job.reset();
      ++seat.compiled;
      --busy;
    }
  }
  return outcomes;
}

}  // namespace quern
