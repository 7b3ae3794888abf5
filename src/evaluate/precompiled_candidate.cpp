// SPDX-License-Identifier: Apache-2.0
//
// Candidates that are machine code for one size: how they are taken in, and what stands in for the
// hidden shapes, which they cannot be run on.
#include "base/hash.h"
#include "device/cuda/cubin_set.h"
#include "evaluate/device_evaluator.h"
#include "evaluate/device_evaluator_built.h"
#include "record/precompiled.h"
#include "tensor/fill.h"

namespace quern {

void DeviceEvaluator::take_precompiled(const Candidate& candidate, const Workload& workload,
                                       Built& built) {
  auto cubins = precompiled_cubins(candidate.source);
  if (!cubins) {
    built.verdict = CompileFailed{"its machine code cannot be read",
                                  cubins.error().message + "\n" + cubins.error().hint};
    return;
  }
  DeviceBinary binary;
  binary.image = cuda::pack_cubins(*cubins);
  binary.build.compiler = "none: it is machine code";
  binary.build.binary_hash = sha256_hex(binary.image);
  built.take(workload, std::move(binary));
  built.asks_caches = true;
}

/// Other inputs at the timed size, in buffers that end where mapped memory does; then two runs on
/// the same inputs.
Outcome<Done> DeviceEvaluator::verify_at_size(DeviceSession& session, Built& built,
                                              Evaluation& evaluation) {
  if (!again_) {
    again_ = timed_;
    for (size_t d = 0; timed_oracle_ && d < again_->datasets.size(); ++d) {
      // A probe is known to be exact for its seed.
      if (again_->policies[d].bitwise) continue;
      again_->datasets[d].seed = mix_seed(again_->datasets[d].seed, 211);
    }
  }
  auto kernel = start(session, built, *again_, &evaluation);
  if (!kernel) return pass_on(kernel);
  auto verified = verify_timed(**kernel, false, evaluation);
  if (!verified) return pass_on(verified);
  std::vector<std::byte> first;
  for (int round = 0; round < 2; ++round) {
    (*kernel)->poison(0);
    auto ran = (*kernel)->run(1);
    if (!ran) return pass_on(ran);
    auto outputs = (*kernel)->outputs(1);
    if (!outputs) return pass_on(outputs);
    if (round == 0) {
      first = std::move(*outputs);
    } else if (first != *outputs) {
      return two_runs_differ((*kernel)->workload());
    }
  }
  evaluation.stages_ms["kernel"] += (*kernel)->kernel_ns() * 1e-6;
  return Done{};
}

}  // namespace quern
