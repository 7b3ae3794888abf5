// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace quern {

/// One hardware counter, or a ratio of some, of one launch.
struct Counter {
  std::string name;   ///< the profiler's: "dram__bytes_read.sum"
  std::string label;  ///< ours: "memory read"
  std::string unit;   ///< "%", "bytes", …; "": a count
  double value = 0;   ///< NaN: the profiler had none
};

/// The counters of one launch of a plan.
struct LaunchProfile {
  std::string kernel;
  std::vector<Counter> counters;
  /// Warps that wait, for each instruction issued, and why; the reason most wait for comes first.
  std::vector<Counter> stalls;
  std::string meaning;  ///< of the largest stall, and what it calls for, in one sentence
};

/// What the hardware counted in one call of a candidate, launch by launch.
struct Profile {
  std::vector<LaunchProfile> launches;
  int passes = 0;  ///< calls it took: only so many counters are read at once
};

}  // namespace quern
