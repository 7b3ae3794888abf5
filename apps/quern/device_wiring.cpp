// SPDX-License-Identifier: Apache-2.0
#include "device_wiring.h"

#include <fmt/format.h>

#include "base/hash.h"
#include "codegen/device_naive.h"
#include "codegen/prelude.h"
#include "device/device_peaks.h"
#include "device/windowed_compiler.h"
#include "device/worker_compiler.h"
#include "evaluate/local_evaluator.h"
#include "evaluate/spread_evaluator.h"
#include "wiring.h"

namespace quern::cli {
namespace {

WorkerOptions worker_options(const Context& context, const std::string& kind, int device) {
  WorkerOptions options;
  options.kind = kind;
  options.device = device;
  options.scratch_dir = context.cache_directory + "/workers";
  return options;
}

void say_loss(const std::string& loss) { say("note: " + loss + "\n"); }

}  // namespace

Result<Peaks> device_peaks(const Context& context, DeviceCompiler& compiler,
                           const WorkerOptions& worker, const std::string& name,
                           const std::string& version) {
  const std::string key = Hasher().add(name).add(version).hex();
  const std::string path = context.cache_directory + "/peaks-" + key.substr(0, 16) + ".json";
  if (auto kept = load_peaks(path)) return kept;
  say(fmt::format("measuring {}, once\n", name));
  QUERN_ASSIGN(const Peaks peaks, measure_device_peaks(compiler, worker));
  QUERN_TRY(save_peaks(peaks, path));
  return peaks;
}

Result<std::unique_ptr<Evaluator>> spread_over(const TaskAtSize& task,
                                               const DeviceEvaluator::Options& options,
                                               const std::vector<int>& devices, size_t window) {
  using Made = Result<std::unique_ptr<Evaluator>>;
  const auto make = [](const TaskAtSize& at, DeviceEvaluator::Options each) -> Made {
    QUERN_ASSIGN(std::unique_ptr<DeviceEvaluator> made,
                 DeviceEvaluator::make(at.program, at.sizes, std::move(each)));
    return std::unique_ptr<Evaluator>(std::move(made));
  };
  if (devices.size() < 2) return make(task, options);
  std::vector<SpreadEvaluator::Device> seats;
  for (const int device : devices) {
    DeviceEvaluator::Options each = options;
    each.worker.device = device;
    each.compiler = std::make_shared<WindowedCompiler>(options.compiler, window);
    seats.push_back({fmt::format("{}:{}", options.worker.kind, device),
                     [=]() -> Made { return make(task, each); }});
  }
  QUERN_ASSIGN(std::unique_ptr<SpreadEvaluator> spread,
               SpreadEvaluator::make(std::move(seats), say_loss));
  return std::unique_ptr<Evaluator>(std::move(spread));
}

namespace {

/// The referee of one OpenCL device, with a compiler of its own: the driver's. To be called in the
/// thread that will use it.
Result<std::unique_ptr<Evaluator>> make_on(const Context& context, const TaskAtSize& task,
                                           const RunOptions& options, int ordinal) {
  DeviceEvaluator::Options device;
  device.worker = worker_options(context, "opencl", ordinal);
  WorkerCompilerOptions compiling;
  compiling.worker = device.worker;
  compiling.cache_dir = context.cache_directory + "/opencl";
  compiling.workers = available_processors();
  QUERN_ASSIGN(std::shared_ptr<WorkerCompiler> compiler, WorkerCompiler::make(compiling));
  device.compiler = compiler;
  device.headers = {{"quern_opencl.h", std::string(opencl_prelude())}};
  device.naive = emit_device_naive(task.program, DeviceLanguage::kOpencl);
  device.host_compiler = compiler_options(context, options.compiler);
  device.threads = options.threads > 0 ? options.threads : available_processors();
  device.seed = options.seed;
  device.clock = options.clock;
  QUERN_ASSIGN(const auto host, CpuCompiler::make(device.host_compiler));
  Peaks peaks;
  if (options.clock == "steady") {
    const bool on_host = compiler->properties().shares_host;
    QUERN_ASSIGN(
        peaks, on_host ? machine_peaks(context, *host, device.threads)
                       : device_peaks(context, *compiler, device.worker,
                                      compiler->properties().name, compiler->properties().driver));
  }
  device.work = work_of(task.program, task.sizes, peaks);
  device.environment = probe_machine(*host, device.threads, peaks.curve.empty() ? nullptr : &peaks);
  return spread_over(task, device, {ordinal}, 0);
}

}  // namespace

Result<std::unique_ptr<Evaluator>> make_opencl_evaluator(const Context& context,
                                                         const TaskAtSize& task,
                                                         const RunOptions& options,
                                                         const std::vector<int>& devices) {
  if (devices.size() < 2) {
    return make_on(context, task, options, devices.empty() ? 0 : devices.front());
  }
  std::vector<SpreadEvaluator::Device> seats;
  for (const int device : devices) {
    seats.push_back({fmt::format("opencl:{}", device),
                     [=, &context] { return make_on(context, task, options, device); }});
  }
  QUERN_ASSIGN(std::unique_ptr<SpreadEvaluator> spread,
               SpreadEvaluator::make(std::move(seats), say_loss));
  return std::unique_ptr<Evaluator>(std::move(spread));
}

Result<std::vector<DeviceProperties>> list_devices(const Context& context,
                                                   const std::string& kind) {
  std::vector<DeviceProperties> devices;
  do {
    const int index = static_cast<int>(devices.size());
    QUERN_ASSIGN(const auto worker, DeviceWorker::start(worker_options(context, kind, index)));
    QUERN_TRY(worker->await_open());
    devices.push_back(worker->properties());
  } while (static_cast<int>(devices.size()) < devices.front().devices);
  return devices;
}

}  // namespace quern::cli
