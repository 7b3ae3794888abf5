// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device/device_compiler.h"

namespace quern {

/// One user's share of a compiler that several use: of what was begun, so many jobs at most are the
/// compiler's at a time, so that a long list does not keep another user's jobs waiting. The
/// compiler must be thread-safe; this is not.
class WindowedCompiler : public DeviceCompiler {
 public:
  WindowedCompiler(std::shared_ptr<DeviceCompiler> compiler, size_t window)
      : compiler_(std::move(compiler)), window_(window) {}
  ~WindowedCompiler() override;
  WindowedCompiler(const WindowedCompiler&) = delete;
  WindowedCompiler& operator=(const WindowedCompiler&) = delete;

  std::vector<Outcome<DeviceBinary>> compile_all(
      const std::vector<DeviceCompileJob>& jobs) override {
    return compiler_->compile_all(jobs);
  }
  std::vector<uint64_t> begin(const std::vector<DeviceCompileJob>& jobs) override;
  bool ready(uint64_t name) override;
  Outcome<DeviceBinary> collect(uint64_t name) override;
  std::string version() const override { return compiler_->version(); }

 private:
  void hand_on();

  std::shared_ptr<DeviceCompiler> compiler_;
  size_t window_;
  uint64_t begun_ = 0;
  std::deque<std::pair<uint64_t, DeviceCompileJob>> waiting_jobs_;  ///< by our name
  std::map<uint64_t, uint64_t> theirs_;  ///< our names of jobs the compiler has, and its names
};

}  // namespace quern
