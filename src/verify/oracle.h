// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "device/cpu/compiler.h"
#include "ir/program.h"
#include "schedule/precision.h"
#include "verify/dataset.h"

namespace quern {

/// The referee's own computation of a task: the naive lowering of the program over scalars that
/// carry the rounding-error scale, or exactness. Built once per task, correct for all sizes, run in
/// a process of its own. Source: research 07 section 6.
class Oracle {
 public:
  /// `contract`: what the candidates it judges may round. Errors: no compiler, or a lowering that
  /// does not compile (a bug of ours).
  static Result<Oracle> make(const ir::Program& program, CpuCompiler& compiler, int threads,
                             Contract contract = Contract::kFp32);

  Contract contract() const { return contract_; }

  /// Fills `data.outputs` with f64 values and rounding-error scales. Where the bound of a deep
  /// program has outgrown its results, the scales are those that random rounding shows
  /// (verify/rounding_samples.h), and `data.sampled` is set.
  Result<void> expect(const ir::Sizes& sizes, Dataset& data) const;

  /// Fills `data.outputs` with values, and `data.exact`: whether every f32 evaluation order gives
  /// every element exactly.
  Result<void> expect_exact(const ir::Sizes& sizes, Dataset& data) const;

 private:
  Oracle(const ir::Program& program, Binary binary, std::optional<Binary> shaken, int threads,
         Contract contract)
      : program_(program),
        contract_(contract),
        binary_(std::move(binary)),
        shaken_(std::move(shaken)),
        threads_(threads) {}
  Result<void> run(const Binary& binary, const std::string& entry, const ir::Sizes& sizes,
                   Dataset& data) const;

  ir::Program program_;
  Contract contract_;
  Binary binary_;
  std::optional<Binary> shaken_;  ///< of deep programs
  int threads_;
};

/// Bytes of memory that evaluating the task at these sizes needs at its peak: buffers of two
/// processes, drawn inputs and expectations.
double evaluation_bytes(const ir::Program& program, const ir::Sizes& sizes);

/// The buffers of one kernel call, as the device wants them.
std::vector<int64_t> free_size_values(const ir::Program& program, const ir::Sizes& sizes);
std::vector<uint64_t> input_bytes(const ir::Program& program, const ir::Sizes& sizes);
std::vector<uint64_t> output_bytes(const ir::Program& program, const ir::Sizes& sizes);

}  // namespace quern
