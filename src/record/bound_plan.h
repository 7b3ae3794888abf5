// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "record/launch_plan.h"

namespace quern {

/// A launch plan at one workload: nothing left but numbers. What a device worker runs.
struct BoundArgument {
  LaunchArgument::Kind kind = LaunchArgument::Kind::kBuffer;
  BufferRef buffer;
  int map = 0;
  PlanType type = PlanType::kI64;
  int64_t whole = 0;                   ///< kWhole, and kScalar of an integer type
  double real = 0;                     ///< kScalar of a floating-point type
  uint64_t offset = 0;                 ///< kBuffer: bytes from its first element
  std::vector<BoundArgument> members;  ///< kStruct
  bool operator==(const BoundArgument&) const = default;
};

struct BoundLaunch {
  std::string kernel;
  uint32_t cubin = 0;                        ///< which of the image's cubins has the kernel
  std::array<uint32_t, 3> grid{1, 1, 1};     ///< blocks (work-groups) along x, y, z
  std::array<uint32_t, 3> block{1, 1, 1};    ///< threads (work-items) of a block
  std::array<uint32_t, 3> cluster{0, 0, 0};  ///< blocks of a cluster; zeros: none
  uint32_t shared_bytes = 0;
  std::vector<BoundArgument> arguments;
  bool programmatic = false;
  bool cooperative = false;
  bool operator==(const BoundLaunch&) const = default;
};

/// Of a whole buffer: scratch or an output.
struct BoundFill {
  BufferRef buffer;
  uint8_t byte = 0;
  uint64_t bytes = 0;
  bool operator==(const BoundFill&) const = default;
};

/// Of a whole buffer to another of as many bytes (CUDA).
struct BoundCopy {
  BufferRef to, from;
  uint64_t bytes = 0;
  bool operator==(const BoundCopy&) const = default;
};

using BoundStep = std::variant<BoundLaunch, BoundFill, BoundCopy>;

struct BoundScratch {
  std::string name;
  PlanType type = PlanType::kF32;
  uint64_t bytes = 0;
  bool operator==(const BoundScratch&) const = default;
};

/// Extents, strides and box innermost first, as the driver takes them.
struct BoundTensorMap {
  std::string name;
  BufferRef buffer;
  PlanType type = PlanType::kF32;
  std::vector<uint64_t> extents;        ///< elements; 1 to 5 of them
  std::vector<uint64_t> strides_bytes;  ///< one fewer: of every axis but the innermost
  std::vector<uint32_t> box;
  std::vector<uint32_t> element_strides;
  Swizzle swizzle = Swizzle::kNone;
  L2Promotion l2 = L2Promotion::kNone;
  bool fill_nan = false;
  bool tf32 = false;
  bool operator==(const BoundTensorMap&) const = default;
};

struct BoundPlan {
  std::vector<BoundScratch> scratch;
  std::vector<BoundTensorMap> maps;
  std::vector<BoundStep> steps;
  bool operator==(const BoundPlan&) const = default;

  uint64_t scratch_bytes() const;
};

/// The numbers of a plan at one workload, for one kind of device. Errors: kInput, naming the line
/// and the values: an empty grid, a block of more than 1024 threads, scratch of 2^40 bytes and
/// more, a tensor map that the hardware cannot hold. What depends on the device itself (its memory,
/// its shared memory) is the backend's to refuse.
Result<BoundPlan> bind_plan(const LaunchPlan& plan, const PlanWorkload& workload,
                            PlanTarget device);

}  // namespace quern
