// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "device/cuda/cubin.h"
#include "device/cuda/gpu.h"
#include "record/bound_plan.h"
#include "record/verdict.h"

namespace quern::cuda {

/// A cubin, or several (device/cuda/cubin_set.h), on the GPU.
class GpuModule {
 public:
  /// Verdict `LaunchFailed` when the driver does not take it.
  static Outcome<GpuModule> load(Gpu& gpu, std::string image);
  GpuModule(GpuModule&& other) noexcept;
  GpuModule& operator=(GpuModule&&) = delete;
  ~GpuModule();

  /// The kernels of one cubin; none where there are not so many.
  std::span<const CubinKernel> kernels(size_t cubin = 0) const;
  /// Null when there is no such kernel.
  const CubinKernel* find(const std::string& kernel, size_t cubin = 0) const;
  Result<FunctionHandle> function(const std::string& kernel, size_t cubin = 0) const;
  struct Variable {
    DevicePointer at = 0;
    uint64_t bytes = 0;
  };
  /// A variable of the first cubin. Errors: there is none of this name.
  Result<Variable> variable(Gpu& gpu, const std::string& name) const;

 private:
  struct Part {
    ModuleHandle module = nullptr;
    std::vector<CubinKernel> kernels;
  };
  explicit GpuModule(Gpu& gpu) : gpu_(&gpu) {}
  Outcome<Done> add(const std::string& cubin);

  Gpu* gpu_;
  std::vector<Part> parts_;
};

/// Where the buffers of one call lie.
struct CallBuffers {
  std::vector<DevicePointer> inputs, outputs, scratch;
  std::vector<uint64_t> scratch_bytes;
  DevicePointer at(const BufferRef& buffer) const;
};

/// How one launch sits on the GPU.
struct LaunchFit {
  std::string kernel;
  int registers = 0;         ///< of a thread
  int64_t local_bytes = 0;   ///< of a thread: spills and arrays that are not in registers
  int64_t shared_bytes = 0;  ///< of a block, static and dynamic
  int max_threads = 0;       ///< of a block, for this kernel
  int blocks_per_multiprocessor = 0;
  double occupancy = 0;         ///< resident threads over the most there can be, 0–1
  double waves = 0;             ///< blocks of the grid over blocks that are resident at once
  const char* limited_by = "";  ///< "registers", "shared memory", "threads" or "blocks"
};

/// A bound plan on one set of buffers: every launch with its arguments laid out, checked against
/// the kernels' parameters and the device's limits.
class GpuCall {
 public:
  /// Verdict `LaunchFailed`: no such kernel, parameters of another number or size, a block or
  /// shared memory larger than the kernel or the device allows, a tensor map the driver refuses.
  static Outcome<GpuCall> make(Gpu& gpu, const GpuModule& module, const BoundPlan& plan,
                               const CallBuffers& buffers);

  /// A call that queues what it does itself, under a name for messages: a library's.
  static GpuCall of(std::string name, std::function<Status()> queue);

  /// Queues every step. A status instead of a verdict, since a capture may be under way.
  Status enqueue(Gpu& gpu) const;
  /// The kernel whose launch failed last, for messages.
  const std::string& last_kernel() const { return last_kernel_; }
  std::vector<LaunchFit> fit(Gpu& gpu) const;

 private:
  struct Launch {
    std::string kernel;
    FunctionHandle function = nullptr;
    LaunchConfig config;
    std::vector<LaunchAttribute> attributes;
    std::vector<TensorMap> values;  ///< as many an argument as it has room in
    std::vector<void*> pointers;
  };
  struct Fill {
    DevicePointer at = 0;
    uint64_t bytes = 0;
    uint8_t byte = 0;
    DevicePointer from = 0;  ///< not 0: what is copied instead
  };
  struct Step {
    std::unique_ptr<Launch> launch;  ///< on the heap: its parts point at each other
    Fill fill;                       ///< where there is no launch
    std::function<Status()> own;     ///< instead of both
  };

  static Outcome<std::unique_ptr<Launch>> prepare(Gpu& gpu, const GpuModule& module,
                                                  const BoundPlan& plan, const BoundLaunch& bound,
                                                  const CallBuffers& buffers, bool first);
  std::vector<Step> steps_;
  mutable std::string last_kernel_;
};

/// A graph of calls, taken in turn from several sets of buffers: launched at once, so that calls
/// follow each other without the host. Only for calls that `enqueue` took before.
class CallGraph {
 public:
  static Result<CallGraph> record(Gpu& gpu, const std::vector<const GpuCall*>& calls, int count);
  CallGraph(CallGraph&& other) noexcept;
  CallGraph& operator=(CallGraph&&) = delete;
  ~CallGraph();

  int count() const { return count_; }
  Status launch() const;

 private:
  CallGraph(Gpu& gpu, GraphExecHandle graph, int count)
      : gpu_(&gpu), graph_(graph), count_(count) {}
  Gpu* gpu_;
  GraphExecHandle graph_;
  int count_;
};

/// The verdict a fault of device code amounts to.
Verdict explain_fault(const Driver& driver, Status status, const std::string& kernel);

}  // namespace quern::cuda
