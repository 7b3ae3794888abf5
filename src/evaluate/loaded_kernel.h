// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/cpu/kernel_process.h"
#include "verify/workload.h"

namespace quern {

/// Buffers between two kernels on the same workload with the same slots and alignment, and the data
/// set that each slot holds.
struct KernelMemory {
  std::unique_ptr<KernelProcess> process;  ///< waiting for a candidate, or dying, then dead
  std::vector<int> assigned;
};

/// A candidate loaded in its own process with the buffers of one workload. Slots are independent
/// sets of buffers that calls rotate over; each holds one data set of the workload.
class LoadedKernel {
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
  ~LoadedKernel();

  const Workload& workload() const { return *workload_; }
  int slots() const { return options_.slots; }
  int dataset(int slot) const { return assigned_[static_cast<size_t>(slot)]; }

  /// Writes the inputs of a data set into a slot, under the pointers that the candidate knows.
  void load(int slot, int dataset);
  /// Turns the data set of a slot into its twin, or back.
  void flip(int slot);
  void poison() { process_->poison_outputs(); }
  void poison(int slot) { process_->poison_outputs(slot); }

  /// Runs `calls` calls over the slots; nanoseconds for all of them, on our clock.
  Outcome<double> run(int calls);

  /// Freezes the process and compares the outputs of the first `slots` slots with what their data
  /// sets demand. `checks`, if given, gets one record a slot.
  Outcome<Done> verify(int slots, const std::string& what, std::vector<Check>* checks);

  /// Copies of all outputs of the first `slots` slots, for comparing two runs bit for bit.
  std::vector<std::byte> outputs(int slots);

  std::vector<std::string> notes() const { return process_->sandbox_notes(); }
  double kernel_ns() const { return kernel_ns_; }  ///< spent in calls so far

 private:
  LoadedKernel(const ir::Program& program, const Workload& workload, Options options)
      : program_(&program), workload_(&workload), options_(options) {}
  void alter(int slot, const Dataset& data);
  bool repeats(int slot);
  Outcome<Done> verify_slot(int slot, const std::string& what, std::vector<Check>* checks);

  const ir::Program* program_;
  const Workload* workload_;
  Options options_;
  std::unique_ptr<KernelProcess> process_;
  std::vector<int> assigned_;  ///< data set of each slot; -1: none
  double kernel_ns_ = 0;
  double slowest_call_ns_ = 0;  ///< the largest mean of a batch so far
};

}  // namespace quern
