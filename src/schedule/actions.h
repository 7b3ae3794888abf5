// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace quern {

/// What an action does to the values computed; it selects the verification obligation.
enum class Exactness {
  kBitwise,    ///< the same floating-point operations for each output, in the same order
  kRealEqual,  ///< the same real function, operations reassociated
  kAlgebraic,  ///< an algebraic identity was used
  kNumeric,    ///< the numeric contract changes
};

/// What an action mainly spends or saves.
enum class Resource {
  kArithmetic,
  kRegisters,
  kCache,
  kMemory,
  kParallelism,
  kLaunch,
  kPrecision,
};

/// How `apply` treats an action.
enum class Support {
  kApplied,  ///< `apply` performs it
  kOwned,    ///< a skeleton does it always or by a parameter of another action: `how` says which
  kGpuOnly,  ///< means nothing on a CPU: `how` says why
  kLater,    ///< known, not built yet: `how` says what stands in for it
};

/// A named argument of an action. `kind` is "statement", "axis", "integer" or "word"; an integer
/// lies in [low, high]; `optional` arguments may be left out.
struct ActionParam {
  std::string_view name;
  std::string_view kind;
  int64_t low = 0;
  int64_t high = 0;
  bool optional = false;
};

/// One transformation of the table (research 07 section 2). `id` is its number there.
struct ActionInfo {
  int id;
  std::string_view name;
  std::string_view summary;
  ActionParam params[4];
  std::string_view legality;
  Exactness exactness;
  Resource resource;
  bool cpu;
  bool gpu;
  Support support;
  std::string_view how;
  /// The same on devices (CUDA, OpenCL): for what `apply` performs, which parameter of a group it
  /// sets (codegen/device_row.h, codegen/device_tile.h).
  Support device_support;
  std::string_view device_how;
  /// Set: on CUDA it is applied, and this says how; the two above are then of other devices.
  std::string_view cuda_how = {};
};

/// What a schedule is for: it decides which actions there are and what they stand for. `kDevice` is
/// any device, `kCuda` one that has NVIDIA's instructions besides.
enum class ScheduleTarget { kCpu, kDevice, kCuda };

/// How `apply` treats the action on the target, and what it says of it there.
Support support_on(const ActionInfo& action, ScheduleTarget target);
std::string_view how_on(const ActionInfo& action, ScheduleTarget target);

/// All 51 actions, by id.
std::span<const ActionInfo> all_actions();
/// The row of that name, or null.
const ActionInfo* find_action(std::string_view name);

std::string_view exactness_name(Exactness exactness);  ///< "bitwise", "real_equal", …
std::string_view resource_name(Resource resource);     ///< "arithmetic", "registers", …
std::string_view support_name(Support support);        ///< "applied", "owned", "gpu_only", "later"

}  // namespace quern
