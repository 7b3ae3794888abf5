// SPDX-License-Identifier: Apache-2.0
#include "cuda_tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "base/file.h"
#include "base/hash.h"
#include "codegen/device_naive.h"
#include "codegen/prelude.h"
#include "device/cuda/blas.h"
#include "device/cuda/counters.h"
#include "device/cuda/cuda_compiler.h"
#include "device/cuda/cuda_source.h"
#include "device/cuda/ptx_assembler.h"
#include "device/cuda/referee.h"
#include "device/cuda/sass.h"
#include "device_wiring.h"
#include "evaluate/device_evaluator.h"
#include "evaluate/local_evaluator.h"
#include "wiring.h"

namespace quern::cli {
namespace {

/// Times on a GPU repeat to a few parts in a thousand: short batches do, and one that is far off
/// asks for no more of them (docs/measuring.md).
TimingPolicy gpu_timing() {
  TimingPolicy timing;
  timing.batch_ns = 2e5;
  timing.min_samples = 6;
  timing.max_samples = 20;
  timing.spread = 0.01;
  timing.inner_spread = 0.006;
  timing.limit_ns = 1.2e7;
  return timing;
}

/// The referee's own kernels as a file: compiled once for a compiler and an architecture.
Result<std::string> kernels_file(cuda::CompilePool& pool, const std::string& folder) {
  QUERN_ASSIGN(const std::string image, cuda::compile_referee(pool));
  const std::string path = fmt::format("{}/kernels-{}.cubin", folder, sha256_hex(image));
  if (!file_exists(path)) QUERN_TRY(write_file_atomic(path, image));
  return path;
}

/// The GPUs with these numbers; all that are like the first one, where none are given.
Result<std::vector<cuda::GpuProperties>> gpus_at(const std::vector<int>& devices) {
  QUERN_ASSIGN(const auto driver, cuda::Driver::open());
  QUERN_ASSIGN(const std::vector<cuda::GpuProperties> gpus, cuda::list_gpus(*driver));
  std::vector<cuda::GpuProperties> chosen;
  for (const cuda::GpuProperties& gpu : gpus) {
    if (devices.empty() && gpu.name == gpus.front().name) chosen.push_back(gpu);
  }
  for (const int ordinal : devices) {
    if (ordinal < 0 || ordinal >= static_cast<int>(gpus.size())) {
      return Error{ErrorKind::kEnvironment,
                   fmt::format("there is no GPU {}; this machine has {}", ordinal, gpus.size()),
                   "quern doctor lists them"};
    }
    chosen.push_back(gpus[static_cast<size_t>(ordinal)]);
    if (chosen.back().name == chosen.front().name) continue;
    return Error{
        ErrorKind::kUsage,
        fmt::format("GPU {} is a {}, and GPU {} a {}: their times say nothing of each other",
                    ordinal, chosen.back().name, devices.front(), chosen.front().name),
        "give --devices of one model"};
  }
  if (chosen.empty()) {
    return Error{ErrorKind::kEnvironment, "the driver shows no GPU", "quern doctor lists them"};
  }
  return chosen;
}

}  // namespace

std::vector<std::string> python_environments(const Context& context) {
  std::vector<std::string> list;
  if (const char* active = std::getenv("VIRTUAL_ENV")) list.emplace_back(active);
  const std::string& tasks = context.tasks_directory;
  list.push_back(tasks.substr(0, tasks.rfind('/')) + "/.venv");
  return list;
}

Result<std::unique_ptr<cuda::CompilePool>> make_compile_pool(const Context& context,
                                                             const std::string& architecture,
                                                             int workers) {
  cuda::CompilePoolOptions options;
  QUERN_ASSIGN(options.library, cuda::find_nvrtc("", python_environments(context)));
  options.cache_dir = context.cache_directory + "/cuda";
  options.linker = cuda::find_nvjitlink(options.library.path, python_environments(context));
  options.workers = workers;
  options.prelude = cuda_prelude();
  if (!architecture.empty()) {
    options.architecture = architecture;
  } else if (auto driver = cuda::Driver::open()) {
    if (auto gpus = cuda::list_gpus(**driver); gpus && !gpus->empty()) {
      options.architecture = gpus->front().architecture();
    }
  }
  return cuda::CompilePool::make(std::move(options));
}

Result<std::unique_ptr<Evaluator>> make_cuda_evaluator(const Context& context,
                                                       const TaskAtSize& task,
                                                       const RunOptions& options,
                                                       const std::vector<int>& devices,
                                                       const std::string& guard) {
  QUERN_ASSIGN(const std::vector<cuda::GpuProperties> gpus, gpus_at(devices));
  const cuda::GpuProperties& gpu = gpus.front();
  const int cores = available_processors();
  // A device keeps a thread of ours and its worker busy.
  const int compilers = std::max(1, cores - 2 * static_cast<int>(gpus.size()));
  QUERN_ASSIGN(std::unique_ptr<cuda::CompilePool> pool,
               make_compile_pool(context, gpu.architecture(), compilers));
  DeviceEvaluator::Options device;
  device.target = PlanTarget::kCuda;
  device.worker.kind = "cuda";
  device.worker.device = gpu.ordinal;
  device.worker.scratch_dir = context.cache_directory + "/workers";
  QUERN_ASSIGN(device.worker.kernels, kernels_file(*pool, context.cache_directory + "/cuda"));
  if (auto library = cuda::find_nvrtc("", python_environments(context))) {
    device.library = cuda::find_cublas(library->path, python_environments(context));
    device.counters = cuda::find_cupti(library->path, python_environments(context));
  }
  device.spares = 3;
  if (!pool->prelude().empty()) device.headers = {{cuda::kPreludeName, pool->prelude()}};
  device.compiler = std::make_shared<cuda::CudaCompiler>(std::move(pool));
  device.compare_header = cuda::compare_source();
  device.naive = emit_device_naive(task.program, DeviceLanguage::kCuda);
  device.host_compiler = compiler_options(context, options.compiler);
  device.threads = options.threads > 0 ? options.threads : cores;
  device.seed = options.seed;
  device.clock = options.clock;
  device.timing = gpu_timing();
  device.hang_s = 0.7;
  device.guards = parse_guard_use(guard).value_or(GuardPolicy::Use::kAuto);
  device.secret = std::random_device()() ^ uint64_t { std::random_device()() } << 32;
  Peaks peaks;
  if (options.clock == "steady") {
    QUERN_ASSIGN(peaks, device_peaks(context, *device.compiler, device.worker, gpu.name,
                                     std::to_string(gpu.driver_version)));
  }
  device.work = work_of(task.program, task.sizes, peaks);
  QUERN_ASSIGN(const auto host, CpuCompiler::make(device.host_compiler));
  device.environment = probe_machine(*host, device.threads);
  std::vector<int> ordinals;
  for (const cuda::GpuProperties& one : gpus) ordinals.push_back(one.ordinal);
  return spread_over(task, device, ordinals, 2 * static_cast<size_t>(compilers));
}

std::vector<CudaFinding> cuda_findings(const Context& context) {
  std::vector<CudaFinding> list;
  auto driver = cuda::Driver::open();
  if (!driver) {
    list.push_back({"cuda", false, driver.error().message, driver.error().hint});
  } else if (auto gpus = cuda::list_gpus(**driver); !gpus) {
    list.push_back({"cuda", false, gpus.error().message, gpus.error().hint});
  } else {
    for (const cuda::GpuProperties& gpu : *gpus) {
      list.push_back(
          {fmt::format("cuda:{}", gpu.ordinal), true,
           fmt::format("{}, {} GiB, {} multiprocessors, {}, driver for CUDA {}.{}", gpu.name,
                       gpu.memory_bytes >> 30, gpu.multiprocessors, gpu.architecture(),
                       gpu.driver_version / 1000, gpu.driver_version % 1000 / 10),
           ""});
    }
  }
  auto library = cuda::find_nvrtc("", python_environments(context));
  if (!library) {
    list.push_back({"nvrtc", false, library.error().message, library.error().hint});
    return list;
  }
  auto pool = make_compile_pool(context, "", 1);
  list.push_back({"nvrtc", pool.has_value(),
                  pool ? fmt::format("{}, {}, confined by {}", (*pool)->version(), library->path,
                                     (*pool)->sandbox().text())
                       : pool.error().message,
                  pool ? "" : pool.error().hint});
  const std::string nvdisasm = cuda::find_nvdisasm(library->path, python_environments(context));
  list.push_back(
      {"nvdisasm", !nvdisasm.empty(),
       nvdisasm.empty() ? "not found: quern profile does without machine code" : nvdisasm,
       "it comes with CUDA toolkits and with the Python package triton"});
  const auto found = [&](const char* name, const std::string& path, const char* without) {
    list.push_back({name, !path.empty(), path.empty() ? std::string("not found: ") + without : path,
                    "it comes with CUDA toolkits and with the Python package torch"});
  };
  found("nvjitlink", cuda::find_nvjitlink(library->path, python_environments(context)),
        "candidates run without guards (docs/cuda.md)");
  found("cupti", cuda::find_cupti(library->path, python_environments(context)),
        "quern profile does without hardware counters");
  found("cublas", cuda::find_cublas(library->path, python_environments(context)),
        "matrix products have no baseline but the naive lowering");
  return list;
}

}  // namespace quern::cli
