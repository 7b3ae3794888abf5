// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/cuda/gpu.h"

namespace quern::cuda {

/// One hardware metric, as CUPTI names it.
struct Metric {
  const char* name;   ///< "dram__throughput.avg.pct_of_peak_sustained_elapsed"
  const char* label;  ///< "memory bandwidth"
  const char* unit;   ///< "%", "bytes", …
};

/// The metrics that a profile reads; every one has been read on an H200. Stall reasons are warps
/// waiting per issued instruction.
const std::vector<Metric>& profile_metrics();

/// What a stall reason means and what it usually calls for; null for other metrics.
const char* stall_advice(const std::string& metric);

/// Metrics of each kernel of a call, in the order of the launches.
struct CounterReport {
  std::vector<std::vector<double>> launches;  ///< [launch][metric]; NaN: not available
  int passes = 0;
};

/// The hardware counters of a GPU, through CUPTI's range profiler (CUDA 12.6 and later). Reading
/// them runs a call some thirty times and slows it: never beside anything that is timed.
class Counters {
 public:
  /// `library`: path of libcupti.so. Errors: kEnvironment: it does not open, is too old, or the
  /// counters are refused (the driver may keep them for the administrator).
  static Result<std::unique_ptr<Counters>> open(Gpu& gpu, const std::string& library);
  ~Counters();

  /// `call` queues the launches once; it is repeated for every pass and must do the same each
  /// time. `launches`: how many kernels it launches.
  Result<CounterReport> read(const std::vector<Metric>& metrics, size_t launches,
                             const std::function<Status()>& call);

 private:
  struct Api;
  struct Session;
  Counters(Gpu& gpu, std::unique_ptr<Api> api);
  Result<void> check(int status, const char* what) const;
  Result<void> configure(Session& session) const;
  Result<void> collect(Session& session, const std::function<Status()>& call) const;
  Result<CounterReport> evaluate(Session& session) const;
  void end(Session& session) const;

  Gpu* gpu_;
  std::unique_ptr<Api> api_;
  std::string chip_;
};

/// libcupti.so beside a CUDA toolkit or in a Python environment; "": none.
std::string find_cupti(const std::string& nvrtc_path,
                       const std::vector<std::string>& python_environments);

}  // namespace quern::cuda
