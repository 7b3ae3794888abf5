// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "device/cuda/gpu.h"
#include "device/cuda/gpu_memory.h"
#include "tensor/fill.h"

namespace quern::cuda {

/// What a comparison found, in the words of verify/compare.h: errors in units of the
/// rounding-error scale, elements outside the bound, elements that hold the poison pattern.
struct GpuComparison {
  double max_error = 0, sum_squares = 0;
  double worst_error = -1, worst_expected = 0;
  int64_t wrong = 0, unwritten = 0, compared = 0;
  int64_t worst_index = -1;
  int64_t inexact = 0;  ///< elements with a scale other than 0
};

/// The clock of the multiprocessors over a fixed piece of arithmetic.
struct ClockReading {
  double cycles = 0, ns = 0;
  double ghz() const { return ns > 0 ? cycles / ns : 0; }
};

/// The source of the referee's own kernels; compile it with `CudaJob::separate`.
std::string referee_source();
/// The part of it that oracles of tasks include.
const char* compare_source();

/// Kernels of ours, on the GPU: they draw inputs, compare outputs and look after the clock where
/// the data is. All work is queued on the GPU's stream; what returns a number waits for it.
class Referee {
 public:
  /// `image`: the cubin of `referee_source()`.
  static Result<Referee> load(Gpu& gpu, const std::string& image);
  Referee(Referee&& other) = default;

  /// Draws every element of a buffer holding `type`: the same numbers as `fill` in tensor/fill.h,
  /// but for FillKind::kWide, which may differ in the last place.
  Result<void> fill(DevicePointer at, uint64_t bytes, DType type, const FillSpec& spec,
                    uint64_t seed);

  /// Draws elements anew at `altered_place` (tensor/fill.h).
  Result<void> alter(DevicePointer at, uint64_t bytes, DType type, const FillSpec& spec,
                     uint64_t seed, uint64_t places);
  /// What `ir::impose` does to square matrices; `structure` counts as ir::Distribution::Structure.
  Result<void> impose(DevicePointer at, uint64_t bytes, DType type, uint32_t structure,
                      uint64_t side);

  /// Begins to look at something: `compare`, `note_found`, `count_other_bytes` and `digest` queue
  /// work whose answers `findings` waits for, all at once.
  Status begin_findings();
  /// Compares an output with what is expected: `values` and `scales` are f64, one an element. An
  /// element is right within `factor` times its scale; `bitwise`: only if it is equal.
  Result<void> compare(DevicePointer got, uint64_t bytes, DType type, DevicePointer values,
                       DevicePointer scales, double factor, bool bitwise);
  /// Takes over what a kernel of ours has found.
  Result<void> note_found(DevicePointer found);
  /// How many bytes of all stretches of these findings together differ from `pattern`.
  struct Stretch {
    DevicePointer at = 0;
    uint64_t bytes = 0;
  };
  Result<void> count_other_bytes(const std::vector<Stretch>& stretches, uint8_t pattern);
  Result<void> digest(DevicePointer at, uint64_t bytes, uint64_t seed);
  struct Findings {
    std::vector<GpuComparison> comparisons;  ///< in the order they were queued
    std::vector<uint64_t> digests;
    uint64_t other_bytes = 0;
  };
  Result<Findings> findings();

  /// One element of a buffer.
  Result<double> element(DevicePointer at, DType type, uint64_t index);

  /// Keeps the GPU busy for about that long, so that what is queued next starts without a gap.
  Status hold(double us);
  /// The clock during the last `hold`, once everything queued is done.
  Result<ClockReading> last_hold();

 private:
  Referee(Gpu& gpu, GpuMemory room, ModuleHandle module)
      : gpu_(&gpu), room_(std::move(room)), module_(module) {}
  Result<FunctionHandle> function(const std::string& name);
  Status launch(FunctionHandle function, unsigned blocks, unsigned threads, void** arguments);
  Result<void> run(const std::string& name, unsigned blocks, void** arguments);
  unsigned blocks_for(int64_t count) const;

  Gpu* gpu_;
  GpuMemory room_;  ///< results of our kernels
  ModuleHandle module_;
  FunctionHandle sentinel_ = nullptr;
  std::map<std::string, FunctionHandle> functions_;
  size_t comparisons_ = 0, digests_ = 0;  ///< queued since `begin_findings`
};

}  // namespace quern::cuda
