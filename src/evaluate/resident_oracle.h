// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "codegen/device_oracle.h"
#include "device/device_compiler.h"
#include "device/device_worker.h"
#include "ir/program.h"
#include "record/bound_plan.h"
#include "verify/workload.h"

namespace quern {

/// The oracle of a task, built for a device. Right for all sizes.
class BuiltOracle {
 public:
  /// `compare_header`: the text its code includes as `kOracleCompareHeader`. `contract`: what
  /// candidates may round. Errors: kInternal: it does not compile.
  static Result<BuiltOracle> make(const ir::Program& program, const ir::Sizes& sizes,
                                  DeviceCompiler& compiler, const std::string& compare_header,
                                  Contract contract = Contract::kFp32);

  /// The same at given sizes: what workers load.
  struct Part {
    std::string image;
    BoundPlan prepare, check;
  };
  struct Bound {
    Part bound, exact;
    std::vector<uint64_t> kept_bytes;
    uint64_t all_kept_bytes() const;
  };
  Result<Bound> at(const ir::Program& program, const ir::Sizes& sizes) const;

 private:
  DeviceOracle bound_, exact_;
  std::string bound_image_, exact_image_;
};

/// The oracle of one workload beside the candidates of a worker: compares outputs where they are.
/// What it keeps of a data set is computed when the set is first looked at, from the inputs in the
/// candidate's slot, and hidden while candidates run.
class ResidentOracle {
 public:
  /// All must outlive it. `next_buffer` and `next_program` name what it takes. `room`: bytes it may
  /// keep. Errors: kEnvironment: that is not enough for one data set.
  static Outcome<std::unique_ptr<ResidentOracle>> make(
      DeviceWorker& worker, const ir::Program& program, const Workload& workload,
      const BuiltOracle::Bound& oracle, const std::vector<BufferSet>& slots, uint64_t room,
      const std::function<BufferId()>& next_buffer, const std::function<ProgramId()>& next_program);

  /// Has the outputs of a slot, which holds that data set, compared in the next inspection.
  void ask(int slot, int dataset, InspectOrder& order);

 private:
  ResidentOracle(DeviceWorker& worker, const Workload& workload)
      : worker_(&worker), workload_(&workload) {}
  struct Programs {
    ProgramId prepare = 0, check = 0;
  };
  uint32_t set_of(int slot, int dataset) const;
  size_t shelf_of(int dataset) const;
  Outcome<Done> keep_policies(const std::function<BufferId()>& next_buffer);
  Outcome<Programs> load(const BuiltOracle::Part& part, const std::vector<BufferSet>& slots,
                         const std::function<ProgramId()>& next_program);

  DeviceWorker* worker_;
  const Workload* workload_;
  std::vector<BufferId> policies_;           ///< by data set
  std::vector<BufferId> found_;              ///< by output
  std::vector<std::vector<BufferId>> kept_;  ///< what is kept of one data set, several times
  std::vector<int> holds_;                   ///< the data set each of `kept_` is of; -1: none
  std::vector<CompareOrder> outputs_;        ///< what an order for each output begins as
  std::vector<BufferSet> slots_;
  Programs bound_, exact_;
};

}  // namespace quern
