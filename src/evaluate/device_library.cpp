// SPDX-License-Identifier: Apache-2.0
//
// The vendor's library as a baseline of `DeviceEvaluator`.
#include "evaluate/device_evaluator.h"
#include "evaluate/device_evaluator_built.h"
#include "evaluate/library_product.h"

namespace quern {

DeviceSessions& DeviceEvaluator::sessions_of(const Built& built) const {
  return built.library ? *library_sessions_ : *sessions_;
}

/// Its call in place of binaries, one for each workload.
DeviceEvaluator::Built DeviceEvaluator::library_built() const {
  Built built;
  built.trusted = built.library = true;
  built.plan.specialize = true;
  built.build.compiler = "cuBLAS";
  std::vector<const Workload*> workloads = {&timed_};
  for (const Workload& hidden : hidden_) workloads.push_back(&hidden);
  for (const Workload* workload : workloads) {
    if (const auto product = library_product(program_, workload->sizes)) {
      built.images[workload] = library_image(*product);
    } else {
      built.verdict = CompileFailed{"the library has no call for " + workload->name, ""};
    }
  }
  return built;
}

void DeviceEvaluator::add_library(std::vector<Candidate>& baselines) {
  if (options_.library.empty() || !library_product(program_, sizes_)) return;
  if (library_sessions_ == nullptr && library_note_.empty()) {
    WorkerOptions worker = options_.worker;
    worker.library = options_.library;
    auto sessions = DeviceSessions::make(worker, 0);
    if (sessions) {
      library_sessions_ = std::move(*sessions);
    } else {
      library_note_ = "the vendor's library is no baseline: " + sessions.error().message;
    }
  }
  if (library_sessions_ == nullptr) return;
  Candidate call = make_candidate(library_source(program_), "baseline", "cuda");
  call.note = "cublas";
  library_id_ = call.id;
  trusted_.insert(call.id);
  baselines.push_back(std::move(call));
}

}  // namespace quern
