// SPDX-License-Identifier: Apache-2.0
#include "evaluate/device_evaluator.h"
#include "evaluate/device_evaluator_built.h"

namespace quern {

Outcome<Profile> DeviceEvaluator::profile_in(DeviceSession& session, Built& built) {
  auto started = start(session, built, timed_, nullptr);
  if (!started) return pass_on(started);
  auto& kernel = static_cast<WorkerKernel&>(**started);
  for (int slot = 0; slot < kernel.slots(); ++slot) kernel.load(slot, 0);
  // The first call of a kernel does what the later ones find done.
  if (auto ran = kernel.run(kernel.slots()); !ran) return pass_on(ran);
  return kernel.profile();
}

Result<Profile> DeviceEvaluator::profile(const Candidate& candidate) {
  if (options_.target != PlanTarget::kCuda) return Evaluator::profile(candidate);
  if (options_.counters.empty()) {
    return Error{ErrorKind::kEnvironment, "there is no CUPTI here, CUDA's profiling library",
                 "it comes with CUDA toolkits and as the Python package nvidia-cuda-cupti"};
  }
  QUERN_ASSIGN(std::vector<Built> built, build({candidate}));
  QUERN_TRY(finish_build(built.front()));
  std::optional<Verdict> verdict = built.front().verdict;
  if (!verdict) {
    WorkerOptions options = options_.worker;
    options.counters = options_.counters;
    QUERN_ASSIGN(std::unique_ptr<DeviceWorker> worker, DeviceWorker::start(options));
    QUERN_TRY(worker->await_open());
    DeviceSession session(std::move(worker));
    auto profile = profile_in(session, built.front());
    if (profile) return std::move(*profile);
    if (profile.has_error()) return profile.error();
    verdict = profile.verdict();
  }
  return Error{ErrorKind::kInput, "under the profiler: " + verdict_reason(*verdict),
               verdict_evidence(*verdict)};
}

}  // namespace quern
