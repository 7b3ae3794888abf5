// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "device/cpu/compiler.h"
#include "device/cpu/machine.h"
#include "evaluate/time.h"
#include "record/evaluator.h"
#include "verify/workload.h"

namespace quern {

/// The referee of one task at one size on this machine's CPU: compile → verify → time, each
/// candidate in sandboxed processes of its own. Stages and their order: docs/measuring.md.
class LocalEvaluator : public Evaluator {
 public:
  struct Options {
    CompilerOptions compiler;
    int threads = 0;               ///< of a kernel; 0: all of the machine
    uint64_t seed = 0;             ///< of hidden shapes and inputs; secret from candidates
    std::string clock = "steady";  ///< "simulated": verified as ever, times from a hash
    TimingPolicy timing;
    DuelPolicy duel;
    double hang_s = 2;  ///< as `LoadedKernel::Options::hang_s`
    /// A candidate may allocate this, or 4 times its buffers where that is more.
    size_t memory_bytes = size_t{1} << 30;
    Peaks peaks;
    Environment environment;
  };

  /// Builds the oracle, draws all workloads and computes what they demand. Errors: not enough
  /// memory (says how much it takes), no compiler, sizes that do not check.
  static Result<std::unique_ptr<LocalEvaluator>> make(const ir::Program& program,
                                                      const ir::Sizes& sizes, Options options);

  Result<std::vector<Evaluation>> evaluate(const std::vector<Candidate>& candidates,
                                           const EvaluateRequest& request) override;
  Result<Duel> duel(const Candidate& candidate, const Candidate& baseline) override;
  Result<std::vector<Candidate>> baselines() override;
  Environment environment() override { return options_.environment; }
  Work work() override { return work_; }

 private:
  struct Built;
  LocalEvaluator(const ir::Program& program, const ir::Sizes& sizes, Options options);

  Result<std::vector<Built>> build(const std::vector<Candidate>& candidates, bool warm);
  Result<Evaluation> evaluate_built(const Candidate& candidate, const Built& built,
                                    double incumbent_ns);
  Outcome<Passed> judge(const Built& built, double incumbent_ns, Evaluation& evaluation);
  Result<void> warm_up();
  LoadedKernel::Options kernel_options(bool trusted) const;
  LoadedKernel::Options hidden_options(const Workload& hidden, bool trusted);
  LoadedKernel::Options timed_options(bool trusted) const;
  Result<LoadedKernel> begin_hidden(const Built& built, const Binary& binary,
                                    const Workload& hidden);
  Outcome<Done> verify_hidden(Result<LoadedKernel> kernel, Evaluation& evaluation);
  Outcome<Done> verify_second(const Built& built, std::optional<Result<LoadedKernel>> begun,
                              Evaluation& evaluation);
  Result<LoadedKernel> begin_timed(const Built& built, KernelMemory* memory) const;
  Outcome<LoadedKernel> start_timed(Result<LoadedKernel> kernel);
  Outcome<double> verify_timed(LoadedKernel& kernel, bool trusted, Evaluation& evaluation);
  Outcome<Timing> take_time(LoadedKernel& kernel, double call_ns, double incumbent_ns);
  Result<void> weigh(double median_ns, Evaluation& evaluation);
  Result<Duel> hashed_duel(const Candidate& candidate, const Candidate& baseline) const;
  int timed_slots() const;
  bool timed_is_small() const;
  KernelLimits limits(bool trusted) const;

  ir::Program program_;
  ir::Sizes sizes_;
  Options options_;
  std::unique_ptr<CpuCompiler> compiler_;
  std::vector<Workload> hidden_;  ///< the first for everyone, the second for those near a record
  Workload timed_;
  Work work_;
  double compile_deadline_s_ = 0;  ///< of a candidate
  bool peaks_doubted_ = false;     ///< they were measured again, since a kernel beat them
  KernelMemory hidden_memory_[2], timed_memory_;
  std::map<std::string, Evaluation> cache_;  ///< by candidate id
  std::set<std::string> trusted_;            ///< ids of our own baselines
};

/// Time that physics allows: bytes of all inputs and outputs over the bandwidth measured on a
/// working set of that size, and flops over the measured peak.
Work work_of(const ir::Program& program, const ir::Sizes& sizes, const Peaks& peaks);

}  // namespace quern
