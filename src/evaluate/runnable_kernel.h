// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "record/evaluation.h"
#include "record/verdict.h"
#include "verify/compare.h"
#include "verify/workload.h"

namespace quern {

/// A candidate that is loaded somewhere, with the buffers of one workload, ready to be run, timed
/// and judged. Slots are independent sets of buffers that calls rotate over; each holds one data
/// set of the workload. Failures of calls without an answer are the next answer's.
class RunnableKernel {
 public:
  virtual ~RunnableKernel() = default;

  const Workload& workload() const { return *workload_; }
  int slots() const { return slots_; }
  int dataset(int slot) const { return assigned_[static_cast<size_t>(slot)]; }

  /// Writes the inputs of a data set into a slot, under the pointers that the candidate knows.
  virtual void load(int slot, int dataset) = 0;
  /// Turns the data set of a slot into its twin, or back.
  void flip(int slot);
  /// Fills outputs with a pattern that no honest result has.
  virtual void poison(int slot) = 0;
  void poison();

  /// Runs `calls` calls over the slots, from the first on; nanoseconds for all of them.
  virtual Outcome<double> run(int calls) = 0;

  /// Compares the outputs of the first `slots` slots with what their data sets demand. `checks`, if
  /// given, gets one record a slot.
  Outcome<Done> verify(int slots, const std::string& what, std::vector<Check>* checks);

  /// All outputs of the first `slots` slots, or a digest of them, for comparing two runs bit for
  /// bit.
  virtual Outcome<std::vector<std::byte>> outputs(int slots) = 0;

  /// Sentences about what confines the candidate less than it should.
  virtual std::vector<std::string> notes() const = 0;
  double kernel_ns() const { return kernel_ns_; }  ///< spent in calls so far

 protected:
  RunnableKernel(const ir::Program& program, const Workload& workload, int slots)
      : program_(&program), workload_(&workload), slots_(slots) {}
  RunnableKernel(RunnableKernel&&) = default;
  RunnableKernel& operator=(RunnableKernel&&) = delete;

  /// Keeps outputs as they are until `let_go`, and looks at what lies beside the buffers. The
  /// outputs of the first `slots` slots will be compared.
  virtual Outcome<Done> hold(int slots) = 0;
  virtual void let_go() {}
  virtual Outcome<CompareReport> compare_output(int slot, size_t index) = 0;
  /// Whether a slot's results need no look, since they agree with the first one's bit for bit.
  virtual bool repeats(int) { return false; }

  /// When a batch hangs, in seconds: `hang_s` and 20 times what its calls should take, or took.
  double limit_s(int calls, double hang_s) const;
  void account(double batch_ns, int calls);

  const ir::Program* program_;
  const Workload* workload_;
  int slots_;
  std::vector<int> assigned_;  ///< data set of each slot; -1: none

 private:
  Outcome<Done> verify_slot(int slot, const std::string& what, std::vector<Check>* checks);

  double kernel_ns_ = 0;
  double slowest_call_ns_ = 0;  ///< the largest mean of a batch so far
};

}  // namespace quern
