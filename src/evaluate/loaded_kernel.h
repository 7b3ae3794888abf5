// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/cpu/kernel_process.h"
#include "verify/workload.h"

namespace quern {

/// A candidate loaded in its own process with the buffers of one workload. Slots are independent
/// sets of buffers that calls rotate over; each holds one data set of the workload.
class LoadedKernel {
 public:
  struct Options {
    int slots = 1;
    Align align = Align::kLeft;
    KernelLimits limits;
    bool trusted = false;
    double call_limit_s = 10;  ///< one call, before it counts as a hang
  };

  /// `program` and `workload` must outlive the kernel. Slot s starts with data set s modulo their
  /// number; all with the first one where there is a twin to be kept unseen.
  static Outcome<LoadedKernel> start(const ir::Program& program, const Workload& workload,
                                     const Binary& binary, const std::string& entry,
                                     const Options& options);

  int slots() const { return options_.slots; }
  int dataset(int slot) const { return assigned_[static_cast<size_t>(slot)]; }

  /// Writes the inputs of a data set into a slot, under the pointers that the candidate knows.
  void load(int slot, int dataset);
  /// Turns the data set of a slot into its twin, or back.
  void flip(int slot);
  void poison() { process_->poison_outputs(); }

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
  Outcome<Done> verify_slot(int slot, const std::string& what, std::vector<Check>* checks);

  const ir::Program* program_;
  const Workload* workload_;
  Options options_;
  std::unique_ptr<KernelProcess> process_;
  std::vector<int> assigned_;
  double kernel_ns_ = 0;
};

}  // namespace quern
