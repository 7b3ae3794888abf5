// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace quern {

/// Times of one kernel on one workload. A sample is the time per call, in ns, of one batch of
/// `calls_per_sample` calls, on the referee's clock. Method: docs/measuring.md.
struct Timing {
  std::vector<double> samples_ns;
  int calls_per_sample = 1;
  double median_ns = 0;
  double low_ns = 0;  ///< 95 % confidence interval of the median
  double high_ns = 0;
  bool early_rejected = false;   ///< stopped after a few samples: clearly slower than the incumbent
  std::string clock = "steady";  ///< "steady", or "simulated" under the deterministic clock
};

/// A duel: candidate against baseline, paired and interleaved in one run, both started anew each
/// round. `speedup` is the median over rounds of baseline ÷ candidate (a round's is the median of
/// its pairs); the interval is the sequential test's at its stop.
struct Duel {
  std::string baseline;  ///< name of the baseline, or a candidate's id
  double speedup = 1;
  double low = 1;
  double high = 1;
  int rounds = 0;
  int pairs = 0;
  bool different = false;            ///< the interval excludes 1
  std::vector<double> baseline_ns;   ///< per pair
  std::vector<double> candidate_ns;  ///< per pair
};

}  // namespace quern
