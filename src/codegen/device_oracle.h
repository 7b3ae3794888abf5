// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/program.h"
#include "schedule/precision.h"

namespace quern {

enum class OracleScalar {
  kBound,  ///< value, and rounding-error scale in units of the contract's unit roundoff
  kExact,  ///< value, and 0 where every f32 evaluation order gives exactly it
};

/// The referee's oracle for a device, in CUDA C++: the naive lowering over the scalars of
/// ir/scalar.h, which it carries along. It has two launch plans (docs/plan_format.md) over one
/// text: `prepare` computes what is kept of a data set, `check` compares outputs with what they
/// must be. Outputs that are maps are recomputed by the kernel that compares them, and maps between
/// statements by their readers, so that only reductions and scans take memory.
struct DeviceOracle {
  /// Memory between the two plans, 16 bytes an element.
  struct Kept {
    std::string name;
    ir::IntExpr elements;
  };
  std::vector<Kept> kept;  ///< none: `prepare` is empty
  /// Tensors: the task's inputs, then `kept`.
  std::string prepare;
  /// Tensors: the task's inputs, `kept`, the task's outputs, `kOraclePolicy`, and for each output y
  /// `oracle_found(y)`: one `Partial` of device/cuda/compare.cuh that says what was found, and
  /// `kOracleBlocks` more.
  std::string check;
  /// Includes `kOracleCompareHeader`. Compile with the option `-default-device` (NVRTC).
  std::string code;
};

inline constexpr const char* kOracleCompareHeader = "quern_compare.cuh";
/// Two f64: the accepted error factor, and 1 where results must agree bit for bit, else 0.
inline constexpr const char* kOraclePolicy = "q_policy";
inline constexpr int kOracleBlocks = 1024;
std::string oracle_found(const std::string& output);

/// `sizes` choose how many threads share a reduction; the source is right for all sizes.
DeviceOracle emit_device_oracle(const ir::Program& program, const ir::Sizes& sizes,
                                OracleScalar scalar, Contract contract = Contract::kFp32);

}  // namespace quern
