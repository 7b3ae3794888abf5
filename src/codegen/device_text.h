// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "ir/program.h"

/// What every printer of device code needs: expressions as text that is OpenCL C and CUDA C++ at
/// once, and the frame around kernels: plan lines, sizes, signatures.
namespace quern {

enum class DeviceLanguage { kOpencl, kCuda };
std::string_view device_language_name(DeviceLanguage language);  ///< "opencl", "cuda"

/// Prints expressions over `s_` sizes, `a_` axes and `t_` tensors, in double where `wide`, else in
/// float. Indices have type `q_int`.
class DeviceText {
 public:
  /// The text of a load's value where it is not in memory.
  using Resolve = std::function<std::optional<std::string>(const ir::Expr& load)>;

  explicit DeviceText(const ir::Program& program, bool wide = false, Resolve resolve = nullptr)
      : program_(program), wide_(wide), resolve_(std::move(resolve)) {}

  std::string index(const ir::IntExpr& expr) const;
  /// A row-major element offset; with fewer indices than dimensions the last counts elements of the
  /// remaining ones.
  std::string offset(const std::string& tensor, const std::vector<ir::IntExpr>& indices) const;
  /// A value, or a condition.
  std::string value(const ir::Expr& expr) const;
  /// A number as a literal of the scalar type.
  std::string literal(double value) const;
  std::string scalar() const { return wide_ ? "double" : "float"; }

 private:
  std::string load(const ir::Expr& expr) const;
  std::string operation(const ir::Expr& expr) const;

  const ir::Program& program_;
  bool wide_;
  Resolve resolve_;
};

/// Local memory that a block may use without asking, in bytes.
inline constexpr int64_t kLocalBytes = 48 << 10;
/// What it may ask for at its launch, on CUDA (compute capability 9.0).
inline constexpr int64_t kDynamicLocalBytes = 227 << 10;

/// Parameters of a group that do not fit one another, or a device: a fault of the schedule.
Error misfit(const std::string& what, const std::string& hint);

/// Whether the values of a statement are computed in double: those of f64 and of integer tensors,
/// but for positions among f32 elements.
bool computed_wide(const ir::Program& program, const ir::Statement& statement);

/// The product of the extents, at least 1 factor; derived sizes are written out.
ir::IntExpr element_product(const ir::Program& program, const std::vector<ir::Axis>& axes);
/// An expression over free sizes alone.
ir::IntExpr without_lets(const ir::Program& program, const ir::IntExpr& expr);
/// ceil(a / b) for a positive b.
ir::IntExpr ceil_div(ir::IntExpr a, ir::IntExpr b);

/// A kernel with its launch, as one candidate source needs both.
struct DeviceKernel {
  std::string name;
  ir::IntExpr blocks;               ///< over free sizes
  int threads = 256;                ///< of a block
  int resident = 0;                 ///< blocks that shall fit a multiprocessor; 0: as it comes
  int64_t shared = 0;               ///< bytes of local memory asked for at the launch; CUDA
  std::vector<std::string> reads;   ///< tensors, in order of the arguments
  std::vector<std::string> writes;  ///< then these, then all free sizes
  std::string body;                 ///< between the braces, after the sizes
};

/// A tensor that only the kernels use.
struct DeviceScratch {
  std::string name;
  DType type = DType::kF32;
  std::vector<ir::IntExpr> shape;  ///< over free sizes
};

/// What a candidate launches, in order.
struct DeviceProgram {
  std::vector<std::string> remarks;  ///< comment lines, without "// "
  std::vector<DeviceScratch> scratch;
  std::vector<DeviceKernel> kernels;
};

/// A whole candidate: plan lines (docs/plan_format.md), the remarks, then the kernels. It is
/// specialised: compiled once per set of sizes, which `q_int` and loops profit from.
std::string device_source(const ir::Program& program, DeviceLanguage language,
                          const DeviceProgram& made);

/// The definitions that follow the prelude: `q_int` and `Q_SIZES`.
std::string device_sizes(const ir::Program& program);

/// `Q_KERNEL(threads) name(arguments)` without the brace. Types of tensors that the program does
/// not have are those of `scratch`.
std::string device_signature(const ir::Program& program, const DeviceKernel& kernel,
                             const std::vector<DeviceScratch>& scratch);

/// Splits `position` (a `q_int` in scope) into axes, the last fastest: one declaration a line.
/// `names` are the variables.
std::string decode_position(const DeviceText& text, const std::string& position,
                            const std::vector<std::string>& names,
                            const std::vector<ir::IntExpr>& extents);
/// The same for axes, in their own variables.
std::string decode_position(const DeviceText& text, const std::string& position,
                            const std::vector<ir::Axis>& axes);

}  // namespace quern
