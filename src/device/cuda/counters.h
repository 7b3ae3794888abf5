// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/cuda/gpu.h"
#include "record/profile.h"

namespace quern::cuda {

/// One hardware metric, as CUPTI names it.
struct Metric {
  const char* name;     ///< "dram__throughput.avg.pct_of_peak_sustained_elapsed"
  const char* label;    ///< "memory bandwidth"
  const char* unit;     ///< "%", "bytes", …
  const char* meaning;  ///< of a stall reason: what it means and calls for; else null
};

/// The metrics that a profile reads, all of which a GH100 has. Stall reasons are warps waiting per
/// issued instruction.
const std::vector<Metric>& profile_metrics();

/// A launch as `profile_metrics` describe it: counters, then stalls, the largest first. `values`:
/// one a metric, NaN where the profiler had none.
LaunchProfile launch_profile(const std::string& kernel, const std::vector<double>& values);

/// The hardware counters of a GPU, through CUPTI's range profiler (CUDA 12.6 and later). Reading
/// them repeats a call some dozen times and slows it: never in a process that times.
class Counters {
 public:
  /// `library`: path of libcupti.so. Sets everything up, so that `read` needs no files. Errors:
  /// kEnvironment: it does not open, is too old, or the counters are refused (the driver may keep
  /// them for the administrator).
  static Result<std::unique_ptr<Counters>> open(Gpu& gpu, const std::string& library);
  ~Counters();

  /// `call` queues the launches of `kernels` once; it is repeated for every pass and must do the
  /// same each time.
  Result<Profile> read(const std::vector<std::string>& kernels,
                       const std::function<Status()>& call);

 private:
  struct Api;
  struct Session;
  Counters(Gpu& gpu, std::unique_ptr<Api> api);
  Result<void> check(int status, const char* what) const;
  Result<void> configure();
  Result<void> enable();
  void disable();
  Result<void> prepare(size_t launches, std::vector<uint8_t>& data) const;
  Result<void> collect(const std::function<Status()>& call) const;
  Result<Profile> evaluate(const std::vector<std::string>& kernels,
                           const std::vector<uint8_t>& data) const;

  Gpu* gpu_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<Session> session_;
};

/// libcupti.so beside a CUDA toolkit or in a Python environment; "": none.
std::string find_cupti(const std::string& nvrtc_path,
                       const std::vector<std::string>& python_environments);

}  // namespace quern::cuda
