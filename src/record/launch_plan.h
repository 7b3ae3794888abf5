// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "record/plan_expr.h"
#include "tensor/dtype.h"

/// How device code (class A) is launched: the comment lines at the head of its source, read and
/// checked. The syntax and its meaning: docs/plan_format.md. `bind_plan` (record/bound_plan.h)
/// turns a plan into numbers for one workload.
namespace quern {

/// The languages a source is written in; `both` compiles as either.
enum class PlanTarget { kCuda, kOpenCl, kBoth };
std::string_view plan_target_name(PlanTarget target);  ///< "cuda", "opencl", "both"
/// Whether a plan for `plan` can run on a `device` of the other kind.
bool plan_runs_on(PlanTarget plan, PlanTarget device);

/// Element types of scratch and of scalar arguments: more than a task may name.
enum class PlanType { kI8, kU8, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kI64, kU64, kF64 };
std::string_view plan_type_name(PlanType type);  ///< "i8", "u8", …, "f16", "bf16", …, "f64"
std::optional<PlanType> plan_type_from_name(std::string_view name);
int64_t plan_type_bytes(PlanType type);
PlanType plan_type_of(DType type);
std::vector<std::string> plan_type_names();

/// A tensor of the task at one workload.
struct PlanTensor {
  std::string name;
  DType type = DType::kF32;
  Shape shape;
};

/// The task as a plan sees it, at one workload. Reading a plan uses the names alone.
struct PlanWorkload {
  PlanSizes sizes;
  std::vector<PlanTensor> inputs, outputs;
};

/// A buffer of global memory that lives for one call of the candidate; its content is undefined at
/// the start of a call.
struct ScratchDecl {
  std::string name;
  PlanType type = PlanType::kF32;
  std::vector<PlanExpr> extents;
  int line = 0;
};

/// A buffer that a kernel gets a pointer to, or a tensor map describes.
struct BufferRef {
  enum class Kind { kInput, kOutput, kScratch };
  Kind kind = Kind::kInput;
  int index = 0;  ///< among its kind
  bool operator==(const BufferRef&) const = default;
};

enum class Swizzle { kNone, k32B, k64B, k128B };
enum class L2Promotion { kNone, k64B, k128B, k256B };

/// A TMA descriptor (CUDA): a view of a buffer that kernels move boxes of. Extents, strides and
/// box are written outermost first, as shapes are; strides in elements, the innermost (1) left out.
struct TensorMapDecl {
  std::string name;
  BufferRef buffer;
  std::vector<PlanExpr> extents;  ///< empty: those of the buffer
  std::vector<PlanExpr> strides;  ///< empty: dense
  std::vector<PlanExpr> box;
  std::vector<PlanExpr> element_strides;  ///< empty: all 1
  Swizzle swizzle = Swizzle::kNone;
  L2Promotion l2 = L2Promotion::kNone;
  bool fill_nan = false;  ///< what lies outside reads as NaN instead of 0
  bool tf32 = false;      ///< an f32 buffer, read as TF32
  int line = 0;
};

/// One argument of a kernel.
struct LaunchArgument {
  enum class Kind {
    kBuffer,     ///< pointer to global memory
    kTensorMap,  ///< a tensor map, by value
    kShared,     ///< OpenCL: the `__local` pointer to the launch's `shared` bytes
    kWhole,      ///< an integer as wide as the kernel's parameter
    kScalar,     ///< a number of type `type`
    kStruct,     ///< `members`, one after the other without gaps (CUDA)
  };
  Kind kind = Kind::kBuffer;
  BufferRef buffer;
  std::optional<PlanExpr> element;  ///< of the buffer that the pointer is to; none: the first
  int map = 0;                      ///< index of the tensor map
  PlanType type = PlanType::kI64;
  PlanExpr value;
  std::vector<LaunchArgument> members;  ///< buffers and scalars
};

struct LaunchDecl {
  std::string kernel;
  int cubin = 0;                ///< of a precompiled candidate: which of its cubins has the kernel
  std::vector<PlanExpr> grid;   ///< blocks along x, y, z; 1 to 3
  std::vector<PlanExpr> block;  ///< threads along x, y, z; 1 to 3
  std::vector<PlanExpr> cluster;   ///< blocks along x, y, z; empty: none
  std::optional<PlanExpr> shared;  ///< bytes of dynamic shared memory
  std::vector<LaunchArgument> arguments;
  bool programmatic = false;  ///< may begin before the launch before it has ended
  bool cooperative = false;   ///< all blocks resident at once, so that the grid can synchronise
  int line = 0;
};

/// Sets every byte of scratch or an output.
struct FillDecl {
  BufferRef buffer;
  uint8_t byte = 0;
  int line = 0;
};

/// Copies a buffer to scratch or an output of as many bytes (CUDA).
struct CopyDecl {
  BufferRef to, from;
  int line = 0;
};

using StepDecl = std::variant<LaunchDecl, FillDecl, CopyDecl>;

/// How a device source is built and launched.
struct LaunchPlan {
  PlanTarget target = PlanTarget::kBoth;
  bool specialize = false;  ///< compile per workload with -DQUERN_SIZE_<name>=<value>
  bool fast_math = false;   ///< the compiler may approximate
  int max_registers = 0;    ///< of a thread, CUDA; 0: the compiler decides
  /// The source's body is machine code (record/precompiled.h), made for the sizes that it is
  /// evaluated at (CUDA).
  bool precompiled = false;
  std::vector<ScratchDecl> scratch;
  std::vector<TensorMapDecl> maps;
  std::vector<StepDecl> steps;  ///< in order; at least one launch
};

/// Reads the plan of a device source. `target`: what a plan that does not say is for. Errors:
/// kInput with the line, what is wrong and how to mend it.
Result<LaunchPlan> parse_launch_plan(const std::string& source, const PlanWorkload& task,
                                     PlanTarget target);

}  // namespace quern
