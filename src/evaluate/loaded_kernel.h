// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/cpu/kernel_process.h"
#include "evaluate/runnable_kernel.h"

namespace quern {

/// Buffers between two kernels on the same workload with the same slots and alignment, and the data
/// set that each slot holds.
struct KernelMemory {
  std::unique_ptr<KernelProcess> process;  ///< waiting for a candidate, or dying, then dead
  std::vector<int> assigned;
};

/// A native candidate, loaded in its own process with the buffers of one workload.
class LoadedKernel : public RunnableKernel {
 public:
  struct Options {
    int slots = 1;
    Align align = Align::kLeft;
    KernelLimits limits;
    bool trusted = false;
    /// A batch hangs when it takes this and 20 times what its calls should, or did before.
    double hang_s = 2;
    /// Takes its buffers from here and gives them back at its end: the next kernel on the same
    /// workload finds them made and filled. Must outlive the kernel.
    KernelMemory* memory = nullptr;
  };

  /// `program` and `workload` must outlive the kernel. Slot s starts with data set s modulo their
  /// number; all with the first one where there is a twin to be kept unseen.
  static Outcome<LoadedKernel> start(const ir::Program& program, const Workload& workload,
                                     const Binary& binary, const std::string& entry,
                                     const Options& options);
  /// Starts the process of the next kernel with these options, if none is waiting in
  /// `options.memory` yet, which must be there: `begin` with the same trust and workload then finds
  /// it ready. The thread that calls this must live until then, or the process does not.
  static Result<void> warm_up(const ir::Program& program, const Workload& workload,
                              const Options& options);
  /// `start` in two steps: the process starts up while we do something else. Nothing but `ready`
  /// may be called in between.
  static Result<LoadedKernel> begin(const ir::Program& program, const Workload& workload,
                                    const Binary& binary, const std::string& entry,
                                    const Options& options);
  Outcome<Done> ready();
  LoadedKernel(LoadedKernel&&) = default;
  LoadedKernel& operator=(LoadedKernel&&) = delete;
  ~LoadedKernel() override;

  void load(int slot, int dataset) override;
  using RunnableKernel::poison;
  void poison(int slot) override { process_->poison_outputs(slot); }
  Outcome<double> run(int calls) override;
  Outcome<std::vector<std::byte>> outputs(int slots) override;

  std::vector<std::string> notes() const override { return process_->sandbox_notes(); }

 private:
  LoadedKernel(const ir::Program& program, const Workload& workload, Options options)
      : RunnableKernel(program, workload, options.slots), options_(options) {}
  void alter(int slot, const Dataset& data);
  bool repeats(int slot) override;
  Outcome<Done> hold(int slots) override;
  void let_go() override { process_->thaw(); }
  Outcome<CompareReport> compare_output(int slot, size_t index) override;

  Options options_;
  std::unique_ptr<KernelProcess> process_;
};

}  // namespace quern
