// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "device/cuda/blas.h"
#include "device/cuda/counters.h"
#include "device/cuda/gpu.h"
#include "device/cuda/gpu_buffers.h"
#include "device/cuda/gpu_call.h"
#include "device/cuda/gpu_memory.h"
#include "device/cuda/gpu_timer.h"
#include "device/cuda/referee.h"
#include "device/device_backend.h"

namespace quern::cuda {

/// Programs of a worker, by name: code, scratch, and a call for every set of buffers. Runs them and
/// takes their time.
class GpuPrograms {
 public:
  /// All outlive it. `referee`, `blas`: null where there is none.
  static Result<GpuPrograms> make(Gpu& gpu, GpuBuffers& buffers, Referee* referee,
                                  const Blas* blas);
  GpuPrograms(GpuPrograms&& other) = default;

  /// As `DeviceBackend`'s.
  Outcome<std::vector<KernelResources>> load(ProgramId id, const std::string& image,
                                             const BoundPlan& plan,
                                             const std::vector<BufferSet>& sets);
  Result<void> unload(ProgramId id);
  Result<void> poison_scratch(ProgramId id, uint8_t byte);
  Outcome<std::vector<double>> run_batches(ProgramId id, int calls, int first, int batches);
  double last_clock_mhz() const { return clock_mhz_; }
  Outcome<Profile> profile(ProgramId id, Counters& counters);

  /// The buffers of one of its sets. Errors: kUsage: no such program or set.
  Result<const BufferSet*> set_of(ProgramId id, uint32_t set);
  /// Queues its call on one of its sets.
  Result<void> enqueue(ProgramId id, uint32_t set);
  Result<std::vector<const GpuMemory*>> scratch_of(ProgramId id);

 private:
  struct Program {
    std::shared_ptr<GpuModule> module;
    std::vector<GpuMemory> scratch;
    std::vector<GpuCall> calls;
    std::vector<BufferSet> sets;                      ///< of the calls
    std::map<std::pair<int, int>, CallGraph> graphs;  ///< by number of calls and first set
    double call_ns = 0;                               ///< of the shortest call so far; 0: none yet
  };

  GpuPrograms(Gpu& gpu, GpuBuffers& buffers, Referee* referee, const Blas* blas, GpuTimer timer)
      : gpu_(&gpu), buffers_(&buffers), referee_(referee), blas_(blas), timer_(std::move(timer)) {}
  Result<Program*> find(ProgramId id);
  Outcome<std::vector<KernelResources>> load_library(ProgramId id, const MatrixProduct& product,
                                                     const std::vector<BufferSet>& sets);
  Result<CallBuffers> call_buffers(const BufferSet& set, const BoundPlan& plan,
                                   const std::vector<GpuMemory>& scratch);
  Outcome<Done> check_room(const BoundPlan& plan);
  Outcome<std::shared_ptr<GpuModule>> module_of(const std::string& image);
  Result<const CallGraph*> graph_of(Program& program, int calls, int first);
  Result<std::vector<double>> time(int batches, double hold_us,
                                   const std::function<Status()>& enqueue);
  Outcome<std::vector<double>> run_singly(Program& program, int calls, int first, int batches);
  Outcome<std::vector<double>> run_graph(Program& program, int calls, int first, int batches);
  Stopped explain(const Program& program, const Error& error);

  Gpu* gpu_;
  GpuBuffers* buffers_;
  Referee* referee_;
  const Blas* blas_;
  GpuTimer timer_;
  std::map<ProgramId, Program> programs_;
  std::shared_ptr<GpuModule> last_module_;
  std::string last_image_;
  double clock_mhz_ = 0;
};

}  // namespace quern::cuda
