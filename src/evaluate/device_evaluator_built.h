// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "evaluate/cache_hints.h"
#include "evaluate/device_evaluator.h"
#include "evaluate/guard_policy.h"
#include "record/launch_plan.h"

namespace quern {

/// A candidate with its plan and its binaries: one for all workloads, or one each when it is
/// specialised.
struct DeviceEvaluator::Built {
  std::optional<Verdict> verdict;  ///< set when there is nothing to run
  LaunchPlan plan;
  Build build;
  std::vector<std::pair<const Workload*, uint64_t>> begun;  ///< builds to collect
  std::map<const Workload*, std::string> images;  ///< of the first workload for all, where shared
  std::optional<DeviceCompileJob> later;  ///< the build for the second hidden workload, if another
  bool trusted = false;
  bool library = false;      ///< the vendor's library does it: images are calls of it
  bool asks_caches = false;  ///< as `WorkerKernel::Options::asks_caches`
  double compile_ms = 0;
  std::string code;     ///< hashes of the machine code
  std::string listing;  ///< of the first binary: what a guarded build is made of
  GuardPolicy::Code listed = GuardPolicy::Code::kUnknown;  ///< what that says
  GuardBuild guard;

  /// A first look, at hidden shapes alone, on a worker of its own.
  struct FirstLook {
    std::optional<Stopped> failed;  ///< what it came to, where it was not right
    bool whole = false;             ///< both hidden shapes were seen
    bool caught = false;            ///< by guards
    Evaluation evaluation;          ///< checks and times so far
    double ms = 0;
  };
  std::optional<FirstLook> look;
  /// Machine code knows one size alone, and a library has workers of its own.
  bool can_be_looked_at() const { return !plan.precompiled && !library; }
  std::optional<std::string> key;  ///< `machine_key`, once it was asked for

  void take(const Workload& workload, DeviceBinary binary) {
    build = std::move(binary.build);
    compile_ms += build.cached ? 0 : build.compile_ms;
    asks_caches = asks_caches || may_ask_caches(binary.listing);
    if (images.empty()) {
      listing = std::move(binary.listing);
      listed = GuardPolicy::code_of(listing);
    }
    images[&workload] = std::move(binary.image);
    code += build.binary_hash + " ";
  }
};

}  // namespace quern
