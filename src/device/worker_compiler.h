// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/device_compiler.h"
#include "device/device_worker.h"

namespace quern {

struct WorkerCompilerOptions {
  WorkerOptions worker;     ///< `compiles` is set for it
  std::string cache_dir;    ///< ours alone; made if missing; processes may share it
  int workers = 2;          ///< compilations at once
  double deadline_s = 60;   ///< of one compilation
  int recycle_after = 100;  ///< compilations of one worker
};

/// A compiler that is a part of the device's driver (OpenCL), in device workers that do nothing
/// else. Results are kept by content: source, headers, macros, options, driver and device. Not
/// thread-safe; the thread that calls it must outlive it.
class WorkerCompiler : public DeviceCompiler {
 public:
  /// Starts one worker. Errors: kEnvironment: no device, no driver, no cache.
  static Result<std::unique_ptr<WorkerCompiler>> make(WorkerCompilerOptions options);

  std::vector<Outcome<DeviceBinary>> compile_all(
      const std::vector<DeviceCompileJob>& jobs) override;
  std::string version() const override { return properties_.platform; }
  const DeviceProperties& properties() const { return properties_; }

 private:
  struct Seat {
    std::unique_ptr<DeviceWorker> worker;
    std::optional<size_t> job;
    int compiled = 0;
  };

  explicit WorkerCompiler(WorkerCompilerOptions options) : options_(std::move(options)) {}
  Result<void> staff(Seat& seat);
  std::string key_of(const DeviceCompileJob& job) const;
  std::string path_of(const std::string& key) const;
  std::optional<Outcome<DeviceBinary>> find(const std::string& key) const;
  void keep(const std::string& key, const Outcome<DeviceBinary>& outcome) const;
  void wait() const;

  WorkerCompilerOptions options_;
  DeviceProperties properties_;
  std::vector<Seat> seats_;
};

}  // namespace quern
