// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "device/cpu/compiler.h"
#include "verify/oracle.h"

namespace quern {

/// One set of sizes with several data sets on it, their expectations, and the error each accepts.
struct Workload {
  std::string name;  ///< "batch=3 dim=17"
  ir::Sizes sizes;
  std::vector<Dataset> datasets;
  std::vector<ComparePolicy> policies;  ///< one per data set
  double naive_ns = 0;                  ///< of one call of the naive lowering: the slowest seen
  int twin = -1;  ///< the data set kept for timed launches: the first one, altered in places
};

/// What the workloads of a task are made with.
struct WorkloadMaker {
  const ir::Program& program;
  const Oracle& oracle;
  const Binary& naive;  ///< the naive lowering: the trusted implementation of the same contract
  int threads = 1;

  /// A hidden shape under every distribution, with exact probes and precision meters where the
  /// program admits them. A distribution on which the trusted implementation itself overflows or
  /// turns invalid is left out; where it is merely inaccurate, so may a candidate be (3 times its
  /// error, research 07 section 6). What the contract of `oracle` lets convolutions round, data
  /// sets of their own measure (`InputMix::Kind`).
  /// `smallest`: the least extent of a size that varies.
  Result<Workload> hidden(uint64_t seed, int64_t smallest = 3) const;

  /// The sizes to be timed: two data sets under the bound and, if `probe_level` is not negative,
  /// an exact probe (`probe_level` from `probe_level_of` a hidden workload).
  Result<Workload> timed(const ir::Sizes& sizes, uint64_t seed, int probe_level) const;
};

/// The policy where the trusted implementation has that error (in units of the rounding scale), and
/// that of exact probes.
ComparePolicy bound_policy(double trusted_error);
ComparePolicy exact_policy();
inline constexpr int kProbeLevels = 7;
/// A naive lowering slower than this is run on one data set only.
inline constexpr double kSlowNaiveNs = 5e8;

/// Name, type and shape of every output; what they must be stays empty.
std::vector<ExpectedOutput> describe_outputs(const ir::Program& program, const ir::Sizes& sizes);

/// Level of the exact probe a workload has; -1: none.
int probe_level_of(const Workload& workload);

std::string sizes_name(const ir::Program& program, const ir::Sizes& sizes);

}  // namespace quern
