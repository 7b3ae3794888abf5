// SPDX-License-Identifier: Apache-2.0
#include "device/device_peaks.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

namespace quern {
namespace {

constexpr uint64_t kSmallest = uint64_t{1} << 20;  // of working sets: both buffers together
constexpr uint64_t kLargest = uint64_t{4} << 30;   // a GPU takes that long to reach its pace
constexpr uint64_t kLargestOnHost = uint64_t{256} << 20;
constexpr int kGroupsAUnit = 16;
constexpr uint32_t kItems = 256;  // of a work-group
constexpr int kRepeats = 5;
constexpr double kLimitS = 20;
constexpr BufferId kX = 1, kY = 2;

constexpr const char* kOpenClProbe = R"code(
__kernel void copy_quads(__global const float4* x, __global float4* y, long quads) {
  for (long i = get_global_id(0); i < quads; i += get_global_size(0)) y[i] = x[i];
}
__kernel void multiply_add(__global const float4* x, __global float4* y, long steps) {
  const float4 a = x[0] * 0.0f + 0.999f;
  float4 v[8];
  for (int k = 0; k < 8; ++k) v[k] = (float4)(k + get_global_id(0));
  for (long i = 0; i < steps; ++i) {
    for (int k = 0; k < 8; ++k) v[k] = fma(v[k], a, a);
  }
  float4 all = v[0];
  for (int k = 1; k < 8; ++k) all += v[k];
  y[get_global_id(0)] = all;
}
)code";
/// The same in CUDA, and tiles of 16 by 8 by 8 on the tensor cores (a warp each, four in turn).
constexpr const char* kCudaProbe = R"code(
__device__ long index() { return blockIdx.x * (long)blockDim.x + threadIdx.x; }
extern "C" __global__ void copy_quads(const float4* x, float4* y, long quads) {
  const long all = (long)gridDim.x * blockDim.x;
  long i = index();
  for (; i + 3 * all < quads; i += 4 * all) {
    const float4 a = x[i], b = x[i + all], c = x[i + 2 * all], d = x[i + 3 * all];
    y[i] = a, y[i + all] = b, y[i + 2 * all] = c, y[i + 3 * all] = d;
  }
  for (; i < quads; i += all) y[i] = x[i];
}
extern "C" __global__ void multiply_add(const float* x, float* y, long steps) {
  const float a = x[0] * 0.0f + 0.999f;
  float v[32];
#pragma unroll
  for (int k = 0; k < 32; ++k) v[k] = k + index();
  for (long i = 0; i < steps; ++i) {
#pragma unroll
    for (int k = 0; k < 32; ++k) v[k] = fmaf(v[k], a, a);
  }
  float all = 0;
#pragma unroll
  for (int k = 0; k < 32; ++k) all += v[k];
  y[index()] = all;
}
extern "C" __global__ void tensor_tiles(const unsigned* x, float* y, long steps) {
  unsigned a[4] = {x[0], x[1], x[2], x[3]}, b[2] = {x[4], x[5]};
  float c[4][4] = {};
  for (long i = 0; i < steps; ++i) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      asm volatile(
          "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
          "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+f"(c[k][0]), "+f"(c[k][1]), "+f"(c[k][2]), "+f"(c[k][3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
  }
  float all = 0;
  for (int k = 0; k < 4; ++k) all += c[k][0] + c[k][1] + c[k][2] + c[k][3];
  y[index()] = all;
}
)code";
constexpr double kFlopsAStep = 8 * 4 * 2;
constexpr double kTensorFlopsAStep = 4 * 2.0 * 16 * 8 * 8 / 32;  // of a thread
constexpr double kTensorPasses = 3;                              // that make an f32 product
constexpr int kFirstTensorCores = 80;                            // with TF32: capability 8.0

Error failed(const Verdict& verdict) {
  return Error{ErrorKind::kEnvironment, "the device cannot be measured: " + verdict_reason(verdict),
               verdict_evidence(verdict)};
}

template <class T>
Result<T> must(Outcome<T> outcome) {
  if (outcome.has_error()) return outcome.error();
  if (outcome.has_verdict()) return failed(outcome.verdict());
  return std::move(*outcome);
}

/// "sm_90a": NVIDIA's architectures count in tens of a capability.
bool has_tensor_cores(const DeviceProperties& device) {
  return device.kind == "cuda" && device.architecture.starts_with("sm_") &&
         std::atoi(device.architecture.c_str() + 3) >= kFirstTensorCores;
}

/// A worker with the two buffers, both filled.
class Probe {
 public:
  static Result<Probe> make(const WorkerOptions& options, std::string image) {
    Probe probe;
    QUERN_ASSIGN(probe.worker_, DeviceWorker::start(options));
    QUERN_TRY(probe.worker_->await_open());
    probe.image_ = std::move(image);
    const DeviceProperties& device = probe.worker_->properties();
    probe.groups_ = static_cast<uint32_t>(std::max(1, device.compute_units) * kGroupsAUnit);
    probe.bytes_ =
        std::min(device.shares_host ? kLargestOnHost : kLargest, device.memory_bytes / 16) / 2;
    for (const BufferId id : {kX, kY}) {
      probe.worker_->allocate(id, probe.bytes_, Placement::kLeft, "a buffer of the probe");
      probe.worker_->fill(id, 0);
    }
    return probe;
  }

  const DeviceProperties& device() const { return worker_->properties(); }
  uint64_t largest() const { return 2 * bytes_; }
  double items() const { return double{kItems} * groups_; }

  /// Nanoseconds of one launch at best.
  Result<double> shortest(const std::string& kernel, int64_t argument) {
    BoundLaunch launch;
    launch.kernel = kernel;
    launch.grid = {groups_, 1, 1};
    launch.block = {kItems, 1, 1};
    BoundArgument number;
    number.kind = LaunchArgument::Kind::kWhole;
    number.whole = argument;
    launch.arguments = {{LaunchArgument::Kind::kBuffer, {BufferRef::Kind::kInput, 0}},
                        {LaunchArgument::Kind::kBuffer, {BufferRef::Kind::kOutput, 0}},
                        number};
    BoundPlan plan;
    plan.steps = {launch};
    const ProgramId id = ++programs_;
    QUERN_TRY(must(worker_->load(id, image_, plan, {{{kX}, {kY}}}, kLimitS)));
    double best = std::numeric_limits<double>::infinity();
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      constexpr int kCalls = 10;
      QUERN_ASSIGN(const double ns, must(worker_->run(id, kCalls, 0, kLimitS)));
      best = std::min(best, ns / kCalls);
    }
    worker_->unload(id);
    return best;
  }

 private:
  std::unique_ptr<DeviceWorker> worker_;
  std::string image_;
  uint32_t groups_ = 1;
  uint64_t bytes_ = 0;
  ProgramId programs_ = 0;
};

}  // namespace

Result<Peaks> measure_device_peaks(DeviceCompiler& compiler, const WorkerOptions& worker) {
  DeviceCompileJob job;
  job.source = worker.kind == "cuda" ? kCudaProbe : kOpenClProbe;
  QUERN_ASSIGN(DeviceBinary binary, must(std::move(compiler.compile_all({job}).front())));
  QUERN_ASSIGN(Probe probe, Probe::make(worker, std::move(binary.image)));
  Peaks peaks;
  peaks.cpu = probe.device().name;
  peaks.threads = probe.device().compute_units;
  for (uint64_t set = kSmallest; set <= probe.largest(); set *= 4) {
    const auto bytes = static_cast<int64_t>(set);
    QUERN_ASSIGN(const double ns, probe.shortest("copy_quads", bytes / 2 / 16));
    const double gbs = static_cast<double>(bytes) / ns;
    peaks.curve.push_back({bytes, gbs, gbs});
  }
  constexpr int64_t kSteps = 256;
  QUERN_ASSIGN(const double ns, probe.shortest("multiply_add", kSteps));
  peaks.fma_gflops = kFlopsAStep * kSteps * probe.items() / ns;
  if (!has_tensor_cores(probe.device())) return peaks;
  QUERN_ASSIGN(const double tensor_ns, probe.shortest("tensor_tiles", kSteps));
  const double tensor = kTensorFlopsAStep * kSteps * probe.items() / tensor_ns;
  peaks.fma_gflops = std::max(peaks.fma_gflops, tensor / kTensorPasses);
  return peaks;
}

}  // namespace quern
