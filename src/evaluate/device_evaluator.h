// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "device/cpu/compiler.h"
#include "device/device_compiler.h"
#include "evaluate/device_session.h"
#include "evaluate/guard_policy.h"
#include "evaluate/known_outputs.h"
#include "evaluate/stages.h"
#include "evaluate/time.h"
#include "evaluate/worker_kernel.h"
#include "record/evaluator.h"
#include "record/launch_plan.h"
#include "verify/workload.h"

namespace quern {

/// The referee of one task at one size on a device that a worker drives: class A, no line of a
/// candidate runs on the host. Compile → load → hidden shape → timed shape → time → second hidden
/// shape. What outputs of hidden shapes must be comes from the oracle on this machine's CPU; those
/// of the timed shape are judged by the same oracle on the device, where it has one.
class DeviceEvaluator : public Evaluator {
 public:
  struct Options {
    PlanTarget target = PlanTarget::kOpenCl;
    WorkerOptions worker;
    int spares = 1;  ///< warm workers beside the one at work
    std::shared_ptr<DeviceCompiler> compiler;
    std::vector<std::pair<std::string, std::string>> headers;  ///< house headers: name, text
    /// What the device's oracle includes (cuda::compare_source); "": the device has none.
    std::string compare_header;
    std::string naive;              ///< source of the naive lowering, the baseline; "": none
    CompilerOptions host_compiler;  ///< for the oracle
    int threads = 0;                ///< of the oracle; 0: all of the machine
    uint64_t seed = 0;              ///< of hidden shapes and inputs; secret from candidates
    std::string clock = "steady";   ///< "simulated": verified as ever, times from a hash
    TimingPolicy timing;
    DuelPolicy duel;
    double hang_s = 2;  ///< as `WorkerKernel::Options::hang_s`
    /// Candidates that get a first look, at hidden shapes on a worker of its own, before one of
    /// them is timed: what faults or hangs there costs the worker that times nothing, and what it
    /// leaves behind is gone before anything is timed. 0: none, one worker sees all of a candidate;
    /// -1: as many as fit the device.
    int first_looks = -1;
    /// Whether candidates run with guards before their first look (CUDA).
    GuardPolicy::Use guards = GuardPolicy::Use::kAuto;
    std::string library;   ///< CUDA: path of cuBLAS, a baseline of matrix products; "": none
    std::string counters;  ///< CUDA: path of CUPTI; "": hardware counters are not read
    uint64_t secret = 0;   ///< of digests: a candidate that knew it could aim at one
    Work work;             ///< with the device's floor; zeros where its peaks are not known
    Environment environment;
  };

  /// Takes the device, builds the oracle and computes what all workloads demand. Errors: as
  /// `make_workloads` and `DeviceSessions::make`.
  static Result<std::unique_ptr<DeviceEvaluator>> make(const ir::Program& program,
                                                       const ir::Sizes& sizes, Options options);

  Result<std::vector<Evaluation>> evaluate(const std::vector<Candidate>& candidates,
                                           const EvaluateRequest& request) override;
  Result<Duel> duel(const Candidate& candidate, const Candidate& baseline) override;
  Result<std::vector<Candidate>> baselines() override;
  /// In a worker of its own, which nothing is timed in.
  Result<Profile> profile(const Candidate& candidate) override;
  Environment environment() override { return options_.environment; }
  Work work() override { return options_.work; }
  const DeviceProperties& device() const { return sessions_->properties(); }

 private:
  struct Built;
  struct Look;
  DeviceEvaluator(const ir::Program& program, const ir::Sizes& sizes, Options options)
      : program_(program),
        sizes_(sizes),
        options_(std::move(options)),
        guard_policy_(options_.guards) {}

  /// What the task lets candidates round on this target.
  Contract contract() const;
  Result<void> make_tests();
  Result<Workload> draw_timed(int probe_level);
  Result<void> measure_naive(Workload& trial, WorkerKernel& kernel);
  Result<void> check_oracle(const BuiltOracle& oracle, DeviceSession& session, Built& naive);
  Result<std::unique_ptr<WorkerKernel>> start_naive(DeviceSession& session, Built& naive,
                                                    const Workload& workload,
                                                    const BuiltOracle::Bound* oracle);
  Result<std::vector<Built>> build(const std::vector<Candidate>& candidates);
  Result<void> finish_build(Built& built) const;
  bool is_built(const Built& built) const;
  Result<void> begin_guards(std::vector<Built>& built, size_t from);
  Outcome<Done> run_guarded(DeviceSession& session, const Built& built, const std::string& image);
  std::optional<Verdict> read_plan(const Candidate& candidate, Built& built) const;
  DeviceCompileJob job_for(const Built& built, const Candidate& candidate,
                           const ir::Sizes& sizes) const;
  std::string machine_key(const Built& built) const;
  Result<Evaluation> evaluate_built(const Candidate& candidate, Built& built, double incumbent_ns);
  Outcome<Passed> judge(Built& built, double incumbent_ns, Evaluation& evaluation);
  Outcome<Passed> judge_in(DeviceSession& session, Built& built, double incumbent_ns,
                           Evaluation& evaluation);
  Outcome<Passed> time_in(DeviceSession& session, Built& built, double incumbent_ns,
                          Evaluation& evaluation);
  int first_looks() const;
  Result<void> look_ahead(std::vector<Built>& built, size_t from, double incumbent_ns);
  Result<Look> begin_look(Built& built, bool whole);
  Result<void> end_look(Look& look);
  uint64_t guard_limit_ns() const;
  bool note_look(const Outcome<Done>& looked, const Look& look);
  Result<void> name_the_place(Built& built, Outcome<Done>& looked);
  Result<void> settle_looks(std::vector<Look>& looks, bool all);
  Outcome<Done> verify_second(DeviceSession& session, Built& built, Evaluation& evaluation);
  const std::string& key_of(Built& built) const;
  Outcome<Done> verify_hidden_in(DeviceSession& session, Built& built, const Workload& hidden,
                                 Evaluation& evaluation);
  static void take_precompiled(const Candidate& candidate, const Workload& workload, Built& built);
  Outcome<Done> verify_at_size(DeviceSession& session, Built& built, Evaluation& evaluation);
  Outcome<std::unique_ptr<RunnableKernel>> start(DeviceSession& session, Built& built,
                                                 const Workload& workload, Evaluation* evaluation);
  Candidate naive_baseline();
  void add_library(std::vector<Candidate>& baselines);
  Built library_built() const;
  DeviceSessions& sessions_of(const Built& built) const;
  Outcome<Profile> profile_in(DeviceSession& session, Built& built);
  Outcome<std::string> image_for(Built& built, const Workload& workload, Evaluation* evaluation);

  ir::Program program_;
  ir::Sizes sizes_;
  Options options_;
  std::unique_ptr<DeviceSessions> sessions_;
  std::unique_ptr<DeviceSessions> library_sessions_;  ///< of the vendor's library, where it applies
  std::string library_id_;                            ///< of the candidate that is its call
  std::string library_note_;                          ///< why it does not start
  std::vector<Workload> hidden_;  ///< the first for everyone, the second for those near a record
  Workload timed_;
  std::optional<Workload> again_;  ///< of the timed shape, for those that know no other
  std::optional<BuiltOracle::Bound> timed_oracle_;  ///< where the device draws the timed shape
  std::string oracle_note_;                         ///< why it does not
  std::map<std::string, Evaluation> cache_;         ///< by candidate id
  std::map<std::string, Evaluation> twins_;         ///< by machine code and launches
  KnownOutputs known_;
  GuardPolicy guard_policy_;
  double naive_hidden_ns_ = 0;     ///< a naive call at the first hidden shape; 0: not known
  std::set<std::string> trusted_;  ///< ids of our own baselines
};

}  // namespace quern
