// SPDX-License-Identifier: Apache-2.0
#include "record/bound_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace quern {
namespace {

constexpr int64_t kMostGrid[3] = {2147483647, 65535, 65535};
constexpr int64_t kMostBlock[3] = {1024, 1024, 64};
constexpr int64_t kMostThreads = 1024;
constexpr int64_t kMostCluster = 16;
constexpr int64_t kMostShared = int64_t{1} << 24;
constexpr int64_t kMostScratchBytes = int64_t{1} << 40;
constexpr int64_t kMostExtent = int64_t{1} << 32;
constexpr char kAxes[] = "xyz";

/// Binds one plan to one workload; `line_` is the declaration at hand, for messages.
class Binder {
 public:
  Binder(const LaunchPlan& plan, const PlanWorkload& workload, PlanTarget device)
      : plan_(plan), workload_(workload), device_(device) {}

  Result<BoundPlan> bind() {
    for (const ScratchDecl& decl : plan_.scratch) QUERN_TRY(scratch(decl));
    if (bound_.scratch_bytes() > static_cast<uint64_t>(kMostScratchBytes)) {
      return error("all scratch together is larger than 2^40 bytes", "");
    }
    for (const TensorMapDecl& decl : plan_.maps) QUERN_TRY(tensor_map(decl));
    for (const StepDecl& step : plan_.steps) {
      if (const auto* fill = std::get_if<FillDecl>(&step)) {
        bound_.steps.emplace_back(BoundFill{fill->buffer, fill->byte, buffer_bytes(fill->buffer)});
      } else if (const auto* copy = std::get_if<CopyDecl>(&step)) {
        QUERN_TRY(this->copy(*copy));
      } else {
        QUERN_TRY(launch(*std::get_if<LaunchDecl>(&step)));
      }
    }
    return std::move(bound_);
  }

 private:
  Error error(const std::string& what, const std::string& hint) const {
    std::vector<std::string> sizes;
    for (const auto& [name, value] : workload_.sizes) {
      sizes.push_back(fmt::format("{} = {}", name, value));
    }
    return Error{ErrorKind::kInput,
                 fmt::format("plan, line {}, at {}: {}", line_, join(sizes, ", "), what), hint};
  }

  /// A value in [low, high]; `what` names it.
  Result<int64_t> value(const PlanExpr& expr, const std::string& what, int64_t low, int64_t high) {
    const auto value = expr.evaluate(workload_.sizes);
    if (!value) return error(fmt::format("{}: {}", what, value.error().message), "");
    if (*value >= low && *value <= high) return *value;
    const bool division = expr.text().find('/') != std::string::npos;
    return error(
        fmt::format("{} is '{}' = {}, and must be {} to {}", what, expr.text(), *value, low, high),
        *value < low && division ? "ceil_div(a, b) rounds a quotient up" : "");
  }

  Result<std::array<uint32_t, 3>> dimensions(const std::vector<PlanExpr>& exprs,
                                             const std::string& what, const int64_t (&most)[3]) {
    std::array<uint32_t, 3> dims{1, 1, 1};
    for (size_t axis = 0; axis < exprs.size(); ++axis) {
      QUERN_ASSIGN(const int64_t extent,
                   value(exprs[axis], fmt::format("{} {}", what, kAxes[axis]), 1, most[axis]));
      dims[axis] = static_cast<uint32_t>(extent);
    }
    return dims;
  }

  Result<void> scratch(const ScratchDecl& decl) {
    line_ = decl.line;
    BoundScratch bound{decl.name, decl.type, static_cast<uint64_t>(plan_type_bytes(decl.type))};
    for (const PlanExpr& expr : decl.extents) {
      QUERN_ASSIGN(const int64_t extent,
                   value(expr, "an extent of " + decl.name, 1, kMostScratchBytes));
      if (__builtin_mul_overflow(bound.bytes, static_cast<uint64_t>(extent), &bound.bytes) ||
          bound.bytes > static_cast<uint64_t>(kMostScratchBytes)) {
        return error(fmt::format("scratch {} is larger than 2^40 bytes", decl.name), "");
      }
    }
    bound_.scratch.push_back(std::move(bound));
    return {};
  }

  Result<void> copy(const CopyDecl& decl) {
    line_ = decl.line;
    const uint64_t to = buffer_bytes(decl.to);
    const uint64_t from = buffer_bytes(decl.from);
    if (to != from) {
      return error(fmt::format("a copy of {} bytes to a buffer of {}", from, to), "");
    }
    bound_.steps.emplace_back(BoundCopy{decl.to, decl.from, to});
    return {};
  }

  Result<void> launch(const LaunchDecl& decl) {
    line_ = decl.line;
    BoundLaunch bound;
    bound.kernel = decl.kernel;
    bound.cubin = static_cast<uint32_t>(decl.cubin);
    const auto name = [&](const char* what) { return fmt::format("{} of {}", what, decl.kernel); };
    QUERN_ASSIGN(bound.grid, dimensions(decl.grid, name("grid"), kMostGrid));
    QUERN_ASSIGN(bound.block, dimensions(decl.block, name("block"), kMostBlock));
    const int64_t threads = int64_t{bound.block[0]} * bound.block[1] * bound.block[2];
    if (threads > kMostThreads) {
      return error(fmt::format("a block of {} has {} threads, and {} at most", decl.kernel, threads,
                               kMostThreads),
                   "");
    }
    if (!decl.cluster.empty()) QUERN_TRY(cluster(decl, bound));
    if (decl.shared) {
      QUERN_ASSIGN(const int64_t bytes, value(*decl.shared, name("shared"), 0, kMostShared));
      bound.shared_bytes = static_cast<uint32_t>(bytes);
    }
    for (const LaunchArgument& argument : decl.arguments) {
      if (argument.kind == LaunchArgument::Kind::kShared && device_ == PlanTarget::kCuda) continue;
      QUERN_ASSIGN(BoundArgument one, bind_argument(argument, decl.kernel));
      bound.arguments.push_back(one);
    }
    bound.programmatic = decl.programmatic;
    bound.cooperative = decl.cooperative;
    bound_.steps.emplace_back(std::move(bound));
    return {};
  }

  Result<void> cluster(const LaunchDecl& decl, BoundLaunch& bound) {
    QUERN_ASSIGN(bound.cluster, dimensions(decl.cluster, "cluster of " + decl.kernel,
                                           {kMostCluster, kMostCluster, kMostCluster}));
    if (int64_t{bound.cluster[0]} * bound.cluster[1] * bound.cluster[2] > kMostCluster) {
      return error(
          fmt::format("a cluster of {} has more than {} blocks", decl.kernel, kMostCluster),
          "8 are always possible");
    }
    for (size_t axis = 0; axis < 3; ++axis) {
      if (bound.grid[axis] % bound.cluster[axis] == 0) continue;
      return error(fmt::format("the grid of {} has {} blocks along {}, not a multiple of the "
                               "cluster's {}",
                               decl.kernel, bound.grid[axis], kAxes[axis], bound.cluster[axis]),
                   "round_up(a, b) rounds up to a multiple of b");
    }
    return {};
  }

  Result<BoundArgument> bind_argument(const LaunchArgument& argument, const std::string& kernel) {
    BoundArgument bound;
    bound.kind = argument.kind;
    bound.buffer = argument.buffer;
    bound.map = argument.map;
    bound.type = argument.type;
    using Kind = LaunchArgument::Kind;
    for (const LaunchArgument& member : argument.members) {
      QUERN_ASSIGN(BoundArgument one, bind_argument(member, kernel));
      bound.members.push_back(std::move(one));
    }
    if (argument.element) {
      const auto size = static_cast<uint64_t>(plan_type_bytes(type_of(argument.buffer)));
      const auto count = static_cast<int64_t>(buffer_bytes(argument.buffer) / size);
      QUERN_ASSIGN(const int64_t element, value(*argument.element, "an element", 0, count - 1));
      bound.offset = static_cast<uint64_t>(element) * size;
    }
    const bool real = argument.type == PlanType::kF32 || argument.type == PlanType::kF64;
    if (argument.kind == Kind::kScalar && real) {
      bound.real = argument.value.evaluate_real(workload_.sizes);
    } else if (argument.kind == Kind::kScalar || argument.kind == Kind::kWhole) {
      int64_t low = INT64_MIN;
      int64_t high = INT64_MAX;
      if (argument.kind == Kind::kScalar) range_of(argument.type, low, high);
      QUERN_ASSIGN(bound.whole, value(argument.value, "an argument of " + kernel, low, high));
    }
    return bound;
  }

  static void range_of(PlanType type, int64_t& low, int64_t& high) {
    const int64_t bits = 8 * plan_type_bytes(type);
    const bool is_signed = plan_type_name(type).front() == 'i';
    low = is_signed ? (bits == 64 ? INT64_MIN : -(int64_t{1} << (bits - 1))) : 0;
    high = bits == 64 ? INT64_MAX : (int64_t{1} << (bits - (is_signed ? 1 : 0))) - 1;
  }

  PlanType type_of(const BufferRef& buffer) const {
    const auto index = static_cast<size_t>(buffer.index);
    if (buffer.kind == BufferRef::Kind::kScratch) return plan_.scratch[index].type;
    const bool input = buffer.kind == BufferRef::Kind::kInput;
    return plan_type_of((input ? workload_.inputs : workload_.outputs)[index].type);
  }

  Result<std::vector<int64_t>> buffer_extents(const BufferRef& buffer) {
    const auto index = static_cast<size_t>(buffer.index);
    if (buffer.kind == BufferRef::Kind::kScratch) {
      return values(plan_.scratch[index].extents, "an extent", 1, kMostExtent);
    }
    return (buffer.kind == BufferRef::Kind::kInput ? workload_.inputs : workload_.outputs)[index]
        .shape;
  }

  uint64_t buffer_bytes(const BufferRef& buffer) const {
    const auto index = static_cast<size_t>(buffer.index);
    if (buffer.kind == BufferRef::Kind::kScratch) return bound_.scratch[index].bytes;
    const PlanTensor& tensor =
        (buffer.kind == BufferRef::Kind::kInput ? workload_.inputs : workload_.outputs)[index];
    return static_cast<uint64_t>(element_count(tensor.shape) * dtype_bytes(tensor.type));
  }

  Result<std::vector<int64_t>> values(const std::vector<PlanExpr>& exprs, const std::string& what,
                                      int64_t low, int64_t high) {
    std::vector<int64_t> list;
    for (const PlanExpr& expr : exprs) {
      QUERN_ASSIGN(const int64_t one, value(expr, what, low, high));
      list.push_back(one);
    }
    return list;
  }

  /// Limits: the CUDA driver API on cuTensorMapEncodeTiled.
  Result<void> tensor_map(const TensorMapDecl& decl) {
    line_ = decl.line;
    const auto part = [&](const char* what) { return fmt::format("{} of {}", what, decl.name); };
    BoundTensorMap bound;
    bound.name = decl.name;
    bound.buffer = decl.buffer;
    bound.type = type_of(decl.buffer);
    std::vector<int64_t> extents;
    if (decl.extents.empty()) {
      QUERN_ASSIGN(extents, buffer_extents(decl.buffer));
    } else {
      QUERN_ASSIGN(extents, values(decl.extents, part("an extent"), 1, kMostExtent));
    }
    QUERN_ASSIGN(const auto box, values(decl.box, part("the box"), 1, 256));
    QUERN_ASSIGN(const auto written, values(decl.strides, part("a stride"), 1, kMostScratchBytes));
    QUERN_ASSIGN(auto steps, values(decl.element_strides, part("an element stride"), 1, 8));
    const size_t rank = extents.size();
    if (steps.empty()) steps.assign(rank, 1);
    if (rank < 1 || rank > 5) return error(part("the rank") + " is not 1 to 5", "");
    if (box.size() != rank || steps.size() != rank) {
      return error(fmt::format("{} has {} axes, its box {}", decl.name, rank, box.size()), "");
    }
    if (!written.empty() && written.size() != rank - 1) {
      return error(
          fmt::format("{} takes {} strides: of all axes but the innermost", decl.name, rank - 1),
          "");
    }
    int64_t dense = 1;
    int64_t last = 0;  // the last element reached
    for (size_t axis = rank; axis-- > 0;) {
      const bool inner = axis + 1 == rank;
      const int64_t stride = inner || written.empty() ? dense : written[axis];
      if (!inner)
        bound.strides_bytes.push_back(static_cast<uint64_t>(stride * plan_type_bytes(bound.type)));
      bound.extents.push_back(static_cast<uint64_t>(extents[axis]));
      bound.box.push_back(static_cast<uint32_t>(box[axis]));
      bound.element_strides.push_back(static_cast<uint32_t>(steps[axis]));
      int64_t reach = 0;
      if (__builtin_mul_overflow(extents[axis] - 1, stride, &reach) ||
          __builtin_add_overflow(last, reach, &last) ||
          __builtin_mul_overflow(dense, extents[axis], &dense)) {
        return error(part("the extent") + " overflows", "");
      }
    }
    bound.swizzle = decl.swizzle;
    bound.l2 = decl.l2;
    bound.fill_nan = decl.fill_nan;
    bound.tf32 = decl.tf32;
    QUERN_TRY(check_map(bound, last));
    bound_.maps.push_back(std::move(bound));
    return {};
  }

  Result<void> check_map(const BoundTensorMap& map, int64_t last) const {
    const auto size = static_cast<uint64_t>(plan_type_bytes(map.type));
    if (static_cast<uint64_t>(last) >= buffer_bytes(map.buffer) / size) {
      return error(fmt::format("{} reaches beyond its buffer", map.name), "");
    }
    if (map.tf32 && map.type != PlanType::kF32) {
      return error(fmt::format("{}: tf32 reads f32 buffers", map.name), "");
    }
    for (const uint64_t stride : map.strides_bytes) {
      if (stride % 16 == 0) continue;
      return error(fmt::format("a row of {} is {} bytes, not a multiple of 16, which a tensor map "
                               "needs",
                               map.name, stride),
                   "copy to padded scratch first, or read that size without a tensor map");
    }
    const uint64_t inner = map.box.front() * size;
    if (inner % 16 != 0) {
      return error(
          fmt::format("the box of {} is {} bytes wide, not a multiple of 16", map.name, inner), "");
    }
    const uint64_t most = map.swizzle == Swizzle::k32B    ? 32
                          : map.swizzle == Swizzle::k64B  ? 64
                          : map.swizzle == Swizzle::k128B ? 128
                                                          : UINT64_MAX;
    if (inner > most) {
      return error(fmt::format("the box of {} is {} bytes wide, more than its swizzle's {}",
                               map.name, inner, most),
                   "");
    }
    return {};
  }

  const LaunchPlan& plan_;
  const PlanWorkload& workload_;
  PlanTarget device_;
  BoundPlan bound_;
  int line_ = 0;
};

}  // namespace

uint64_t BoundPlan::scratch_bytes() const {
  uint64_t all = 0;
  for (const BoundScratch& one : scratch) all += one.bytes;
  return all;
}

Result<BoundPlan> bind_plan(const LaunchPlan& plan, const PlanWorkload& workload,
                            PlanTarget device) {
  return Binder(plan, workload, device).bind();
}

}  // namespace quern
