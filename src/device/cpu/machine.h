// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/cpu/compiler.h"
#include "record/evaluation.h"

namespace quern {

/// Bandwidth at one working set: small sets live in caches. In 10^9 bytes per second, all threads.
struct BandwidthPoint {
  int64_t working_set_bytes = 0;  ///< read and written together
  double copy_gbs = 0;            ///< bytes read + bytes written
  double read_gbs = 0;
};

/// What this machine can do at best, measured with kernels of ours in the same kind of process and
/// memory that candidates get. Method: docs/measuring.md.
struct Peaks {
  std::string cpu;
  int threads = 0;
  double fma_gflops = 0;              ///< f32 multiply-adds, 2 operations each
  std::vector<BandwidthPoint> curve;  ///< by working set, ascending

  /// Main memory: the largest working set.
  double copy_gbs() const { return curve.empty() ? 0 : curve.back().copy_gbs; }
  double read_gbs() const { return curve.empty() ? 0 : curve.back().read_gbs; }
  /// The best rate at which `bytes` of working set can move: never less than a larger set's.
  /// Between points, the smaller set's rate: a bound, not a guess.
  double bandwidth_gbs(int64_t working_set_bytes) const;
};

/// Measures, in about two seconds: each figure is the best of several short repeats. Errors:
/// kEnvironment when the probes do not build or run.
Result<Peaks> measure_peaks(const CpuCompiler& compiler, int threads);

/// The better figure of two measurements, point by point: a busy neighbour only ever makes a
/// machine look slower than it is.
Peaks best_of(const Peaks& a, const Peaks& b);

/// JSON, one file. Errors of `load_peaks`: missing, malformed.
Result<void> save_peaks(const Peaks& peaks, const std::string& path);
Result<Peaks> load_peaks(const std::string& path);

/// Facts about this machine; peaks are filled in from `peaks` where given.
Environment probe_machine(const CpuCompiler& compiler, int threads, const Peaks* peaks = nullptr);

/// Processors this process may run on.
int available_processors();

}  // namespace quern
