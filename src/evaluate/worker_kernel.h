// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "evaluate/device_session.h"
#include "evaluate/known_outputs.h"
#include "evaluate/runnable_kernel.h"

namespace quern {

/// A candidate of device code, loaded in a device worker with the buffers of one workload.
class WorkerKernel : public RunnableKernel {
 public:
  struct Options {
    int slots = 1;
    Placement placement = Placement::kLeft;
    double hang_s = 2;   ///< a batch hangs when it takes this and 20 times what its calls should
    double load_s = 30;  ///< to load the binary
    const BuiltOracle::Bound* oracle = nullptr;  ///< of workloads that are drawn on the device
    uint64_t digest_seed = 0;
    KnownOutputs* known = nullptr;  ///< outputs that need no second look; null: look at all
    bool asks_caches = false;       ///< its code may ask caches to keep what it touched
  };

  /// All must outlive the kernel. Slots start as `LoadedKernel`'s do. Verdicts: those of
  /// `DeviceBackend::load`.
  static Outcome<std::unique_ptr<WorkerKernel>> start(
      const ir::Program& program, const Workload& workload, DeviceSession& session,
      const std::string& image, const BoundPlan& plan, const Options& options);
  ~WorkerKernel() override;

  void load(int slot, int dataset) override;
  using RunnableKernel::poison;
  void poison(int slot) override;
  Outcome<double> run(int calls) override;
  Outcome<std::vector<double>> run_batches(int calls, int batches) override;
  Outcome<std::vector<std::byte>> outputs(int slots) override;
  /// Hardware counters of one call; the worker must have been started with `counters`.
  Outcome<Profile> profile();
  std::vector<std::string> notes() const override;
  const std::vector<KernelResources>& resources() const { return resources_; }
  /// What the last comparison on the device found, one a slot and output.
  const std::vector<CompareCounts>& found() const { return found_; }

 private:
  WorkerKernel(const ir::Program& program, const Workload& workload, DeviceSession& session,
               const Options& options)
      : RunnableKernel(program, workload, options.slots), session_(&session), options_(options) {}
  DeviceWorker& worker() const { return session_->worker(); }
  const BufferSet& set(int slot) const { return resident_->sets[static_cast<size_t>(slot)]; }
  Outcome<Done> hold(int slots) override;
  Outcome<CompareReport> compare_output(int slot, size_t index) override;
  Outcome<std::vector<std::byte>> read_output(int slot, size_t index);
  Outcome<bool> ask(int slots, InspectOrder& order);
  Outcome<Done> compare_held(int slots, InspectOrder order);
  bool recall_found(int slots);
  void remember_found(int slots);
  void digest(int slots, InspectOrder& order) const;
  void draw_inputs(int slot, int before, int dataset);
  void draw_all(int slot, const std::vector<InputDraw>& draws);
  void alter(int slot, const std::vector<InputDraw>& draws);

  DeviceSession* session_;
  Options options_;
  DeviceSession::Resident* resident_ = nullptr;
  ProgramId program_id_ = 0;
  std::vector<KernelResources> resources_;
  std::optional<Stopped> failure_;  ///< of a call without an answer
  int poisonings_ = 0;
  ResidentOracle* oracle_ = nullptr;
  std::vector<CompareCounts> found_;  ///< of the held slots; empty: compare on the host
  std::vector<uint64_t> digests_;     ///< of the outputs as they are; empty: not known
  double lowest_clock_mhz_ = 0;       ///< 0: not known
};

}  // namespace quern
