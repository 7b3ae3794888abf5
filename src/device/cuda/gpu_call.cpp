// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/gpu_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/strings.h"
#include "base/suggest.h"
#include "device/cuda/cubin_set.h"
#include "device/cuda/occupancy.h"
#include "record/cuda_values.h"

namespace quern::cuda {
namespace {

constexpr uint32_t kPlainShared = 48 * 1024;  ///< more must be asked for, function by function
constexpr uint32_t kPortableCluster = 8;
constexpr size_t kMapBytes = sizeof(TensorMap);

Verdict refuse(const BoundLaunch& launch, const std::string& why,
               const std::string& evidence = "") {
  return LaunchFailed{fmt::format("launch {}: {}", launch.kernel, why), evidence};
}

std::string signature(const CubinKernel& kernel) {
  std::vector<std::string> parts;
  for (const auto& parameter : kernel.parameters) parts.push_back(std::to_string(parameter.bytes));
  return fmt::format("{} takes {} parameters, of {} bytes", kernel.name, kernel.parameters.size(),
                     parts.empty() ? "no" : join(parts, ", "));
}

size_t volume(const std::array<uint32_t, 3>& extents) {
  return size_t{extents[0]} * extents[1] * extents[2];
}

/// Bytes an argument of this kind fills; 0: as many as the parameter has.
uint32_t bytes_of(const BoundArgument& argument) {
  switch (argument.kind) {
    case LaunchArgument::Kind::kBuffer:
      return 8;
    case LaunchArgument::Kind::kTensorMap:
      return kMapBytes;
    case LaunchArgument::Kind::kScalar:
      return static_cast<uint32_t>(plan_type_bytes(argument.type));
    case LaunchArgument::Kind::kStruct: {
      uint32_t bytes = 0;
      for (const BoundArgument& member : argument.members) bytes += bytes_of(member);
      return bytes;
    }
    case LaunchArgument::Kind::kShared:
    case LaunchArgument::Kind::kWhole:
      return 0;
  }
  return 0;
}

bool fits(int64_t value, uint32_t bytes) {
  if (bytes >= 8) return true;
  const int bits = static_cast<int>(8 * bytes);
  return value >= -(int64_t{1} << (bits - 1)) && value < (int64_t{1} << bits);
}

/// Lays out what needs no more than the buffers' addresses: pointers, numbers and structs of them.
void store_plain(const BoundArgument& argument, const CallBuffers& buffers, char* at) {
  if (argument.kind == LaunchArgument::Kind::kScalar) {
    // Little-endian: the low bytes are the number.
    const uint64_t bits = scalar_bits(argument);
    std::memcpy(at, &bits, static_cast<size_t>(plan_type_bytes(argument.type)));
    return;
  }
  if (argument.kind == LaunchArgument::Kind::kBuffer) {
    const DevicePointer pointer = buffers.at(argument.buffer) + argument.offset;
    std::memcpy(at, &pointer, sizeof pointer);
    return;
  }
  for (const BoundArgument& member : argument.members) {
    store_plain(member, buffers, at);
    at += bytes_of(member);
  }
}

Outcome<Done> encode(Gpu& gpu, const BoundTensorMap& map, const CallBuffers& buffers,
                     TensorMap& encoded) {
  const Status status = gpu.driver().encode_tensor_map(
      &encoded, tensor_map_type(map), static_cast<uint32_t>(map.extents.size()),
      buffers.at(map.buffer), map.extents.data(), map.strides_bytes.data(), map.box.data(),
      map.element_strides.data(),
      /*interleave=*/0, static_cast<int>(map.swizzle), static_cast<int>(map.l2),
      map.fill_nan ? 1 : 0);
  if (status == kSuccess) return Done{};
  return Verdict(LaunchFailed{
      fmt::format("tensor_map {}: the driver refuses it: {}", map.name, gpu.driver().text(status)),
      "extents, strides and box must meet the rules of TMA: 16-byte strides, a box of at most 256 "
      "elements an axis whose innermost row is a multiple of 16 bytes and fits the swizzle"});
}

}  // namespace

DevicePointer CallBuffers::at(const BufferRef& buffer) const {
  const auto index = static_cast<size_t>(buffer.index);
  switch (buffer.kind) {
    case BufferRef::Kind::kInput:
      return inputs[index];
    case BufferRef::Kind::kOutput:
      return outputs[index];
    case BufferRef::Kind::kScratch:
      return scratch[index];
  }
  return 0;
}

Outcome<Done> GpuModule::add(const std::string& cubin) {
  auto kernels = read_cubin(cubin);
  if (!kernels) {
    return Verdict(LaunchFailed{"its machine code is not a cubin", kernels.error().message});
  }
  ModuleHandle module = nullptr;
  const Status status = gpu_->driver().module_load(&module, cubin.data());
  if (status == kSuccess) {
    parts_.push_back({module, std::move(*kernels)});
    return Done{};
  }
  if (gpu_->fault() != kSuccess || is_device_fault(status)) {
    return gpu_->check(status, "loading a module").error();
  }
  return Verdict(LaunchFailed{"the driver does not load it: " + gpu_->driver().text(status), ""});
}

Outcome<GpuModule> GpuModule::load(Gpu& gpu, std::string image) {
  GpuModule made(gpu);
  for (const std::string& cubin : unpack_cubins(std::move(image))) {
    if (auto added = made.add(cubin); !added) return pass_on(added);
  }
  return made;
}

GpuModule::GpuModule(GpuModule&& other) noexcept
    : gpu_(other.gpu_), parts_(std::exchange(other.parts_, {})) {}

GpuModule::~GpuModule() {
  for (const Part& part : parts_) {
    if (gpu_->fault() == kSuccess) (void)gpu_->driver().module_unload(part.module);
  }
}

std::span<const CubinKernel> GpuModule::kernels(size_t cubin) const {
  if (cubin >= parts_.size()) return {};
  return parts_[cubin].kernels;
}

const CubinKernel* GpuModule::find(const std::string& kernel, size_t cubin) const {
  const std::span<const CubinKernel> list = kernels(cubin);
  const auto found = std::ranges::find(list, kernel, &CubinKernel::name);
  return found == list.end() ? nullptr : &*found;
}

Result<GpuModule::Variable> GpuModule::variable(Gpu& gpu, const std::string& name) const {
  if (parts_.empty()) return Error{ErrorKind::kUsage, "an image without machine code", ""};
  Variable found;
  size_t bytes = 0;
  QUERN_TRY(gpu.check(
      gpu.driver().module_global(&found.at, &bytes, parts_.front().module, name.c_str()), name));
  found.bytes = bytes;
  return found;
}

Result<FunctionHandle> GpuModule::function(const std::string& kernel, size_t cubin) const {
  QUERN_CHECK(cubin < parts_.size(), "a kernel of a cubin that is not there");
  FunctionHandle function = nullptr;
  QUERN_TRY(
      gpu_->check(gpu_->driver().module_function(&function, parts_[cubin].module, kernel.c_str()),
                  "kernel " + kernel));
  return function;
}

namespace {

Outcome<Done> check_launch(Gpu& gpu, const GpuModule& module, const BoundLaunch& bound) {
  const GpuProperties& device = gpu.properties();
  const CubinKernel* kernel = module.find(bound.kernel, bound.cubin);
  if (kernel == nullptr) {
    std::vector<std::string> names;
    for (const CubinKernel& known : module.kernels(bound.cubin)) names.push_back(known.name);
    std::string evidence = "the source has " + (names.empty() ? "no kernel" : join(names, ", "));
    for (const std::string& name : names) {
      if (name.rfind("_Z", 0) == 0 && name.find(bound.kernel) != std::string::npos) {
        evidence += "\n" + name + " looks like it without extern \"C\"";
      }
    }
    return refuse(bound, "there is no such kernel; " + did_you_mean(bound.kernel, names), evidence);
  }
  if (bound.arguments.size() != kernel->parameters.size()) {
    return refuse(bound,
                  fmt::format("{} arguments for {} parameters", bound.arguments.size(),
                              kernel->parameters.size()),
                  signature(*kernel));
  }
  const size_t threads = volume(bound.block);
  if (kernel->max_threads > 0 && threads > static_cast<size_t>(kernel->max_threads)) {
    return refuse(bound, fmt::format("a block of {} threads, and __launch_bounds__ allows {}",
                                     threads, kernel->max_threads));
  }
  const int64_t shared = bound.shared_bytes + kernel->shared_bytes;
  if (shared > device.shared_per_block_opt_in) {
    return refuse(bound, fmt::format("{} bytes of shared memory, {} of them static; a block of "
                                     "this GPU has at most {}",
                                     shared, kernel->shared_bytes, device.shared_per_block_opt_in));
  }
  if (volume(bound.cluster) > 0 && !device.clusters) {
    return refuse(bound, "this GPU has no thread block clusters");
  }
  return Done{};
}

/// Lays one argument out at `at`.
Outcome<Done> store_argument(Gpu& gpu, const BoundPlan& plan, const BoundLaunch& bound,
                             size_t index, uint32_t bytes, const CallBuffers& buffers,
                             TensorMap* at) {
  const BoundArgument& argument = bound.arguments[index];
  const uint32_t wanted = bytes_of(argument);
  if (wanted != 0 && wanted != bytes) {
    return refuse(
        bound, fmt::format("argument {} has {} bytes, the parameter {}", index + 1, wanted, bytes));
  }
  switch (argument.kind) {
    case LaunchArgument::Kind::kBuffer:
    case LaunchArgument::Kind::kScalar:
    case LaunchArgument::Kind::kStruct:
      store_plain(argument, buffers, reinterpret_cast<char*>(at));
      return Done{};
    case LaunchArgument::Kind::kTensorMap:
      return encode(gpu, plan.maps[static_cast<size_t>(argument.map)], buffers, *at);
    case LaunchArgument::Kind::kShared:
      return refuse(bound, "`shared` is an argument of OpenCL kernels only");
    case LaunchArgument::Kind::kWhole:
      break;
  }
  if (bytes > 8 || (bytes & (bytes - 1)) != 0 || bytes == 0) {
    return refuse(bound, fmt::format("argument {} is a whole number, the parameter has {} bytes",
                                     index + 1, bytes));
  }
  if (!fits(argument.whole, bytes)) {
    return refuse(bound, fmt::format("argument {} is {}, too large for a parameter of {} bytes",
                                     index + 1, argument.whole, bytes));
  }
  std::memcpy(at->words, &argument.whole, bytes);
  return Done{};
}

Outcome<Done> allow_resources(Gpu& gpu, FunctionHandle function, const BoundLaunch& bound) {
  const Driver& api = gpu.driver();
  int threads = 0;
  (void)api.function_attribute(&threads, FunctionAttribute::kMaxThreadsPerBlock, function);
  if (volume(bound.block) > static_cast<size_t>(threads)) {
    return refuse(bound, fmt::format("a block of {} threads; with its registers the kernel can "
                                     "have {}",
                                     volume(bound.block), threads));
  }
  if (bound.shared_bytes > kPlainShared) {
    const Status status = api.function_set_attribute(
        function, FunctionAttribute::kMaxDynamicSharedBytes, static_cast<int>(bound.shared_bytes));
    if (status != kSuccess) return refuse(bound, "shared memory: " + api.text(status));
  }
  if (volume(bound.cluster) > kPortableCluster) {
    const Status status =
        api.function_set_attribute(function, FunctionAttribute::kNonPortableClusterSize, 1);
    if (status != kSuccess) return refuse(bound, "cluster: " + api.text(status));
  }
  return Done{};
}

void add_attribute(std::vector<LaunchAttribute>& list, LaunchAttribute::Id id,
                   const std::array<uint32_t, 3>& value) {
  LaunchAttribute attribute{id};
  std::ranges::copy(value, attribute.value);
  list.push_back(attribute);
}

void fill_in_occupancy(Gpu& gpu, const LaunchConfig& config, FunctionHandle function,
                       LaunchFit& fit) {
  const GpuProperties& device = gpu.properties();
  const int threads = static_cast<int>(config.block[0] * config.block[1] * config.block[2]);
  (void)gpu.driver().occupancy(&fit.blocks_per_multiprocessor, function, threads,
                               config.shared_bytes);
  const int blocks = fit.blocks_per_multiprocessor;
  if (blocks == 0) return;
  fit.occupancy = static_cast<double>(blocks) * threads / device.max_threads_per_multiprocessor;
  fit.waves = static_cast<double>(config.grid[0]) * config.grid[1] * config.grid[2] /
              (static_cast<double>(blocks) * device.multiprocessors);
  fit.limited_by =
      occupancy_of(device.limits(), fit.registers, threads, fit.shared_bytes).limited_by;
}

}  // namespace

Outcome<std::unique_ptr<GpuCall::Launch>> GpuCall::prepare(Gpu& gpu, const GpuModule& module,
                                                           const BoundPlan& plan,
                                                           const BoundLaunch& bound,
                                                           const CallBuffers& buffers, bool first) {
  if (auto fine = check_launch(gpu, module, bound); !fine) return pass_on(fine);
  auto launch = std::make_unique<Launch>();
  launch->kernel = bound.kernel;
  auto function = module.function(bound.kernel, bound.cubin);
  if (!function) return function.error();
  launch->function = *function;
  if (auto fine = allow_resources(gpu, *function, bound); !fine) return pass_on(fine);
  std::ranges::copy(bound.grid, launch->config.grid);
  std::ranges::copy(bound.block, launch->config.block);
  launch->config.shared_bytes = bound.shared_bytes;
  launch->config.stream = gpu.stream();
  using Id = LaunchAttribute::Id;
  if (volume(bound.cluster) > 0) {
    add_attribute(launch->attributes, Id::kClusterDimension, bound.cluster);
  }
  // The first launch waits for the call before it: calls are timed one after another.
  if (bound.programmatic && !first) {
    add_attribute(launch->attributes, Id::kProgrammaticSerialization, {1, 0, 0});
  }
  if (bound.cooperative) add_attribute(launch->attributes, Id::kCooperative, {1, 0, 0});
  launch->config.attributes = launch->attributes.data();
  launch->config.attribute_count = static_cast<unsigned>(launch->attributes.size());
  const std::vector<CubinKernel::Parameter>& parameters =
      module.find(bound.kernel, bound.cubin)->parameters;
  const auto room = [](const CubinKernel::Parameter& parameter) {
    return parameter.bytes / kMapBytes + 1;
  };
  size_t values = 0;
  for (const CubinKernel::Parameter& parameter : parameters) values += room(parameter);
  launch->values.resize(values);
  TensorMap* at = launch->values.data();
  for (size_t i = 0; i < bound.arguments.size(); ++i) {
    auto stored = store_argument(gpu, plan, bound, i, parameters[i].bytes, buffers, at);
    if (!stored) return pass_on(stored);
    launch->pointers.push_back(at);
    at += room(parameters[i]);
  }
  return launch;
}

Outcome<GpuCall> GpuCall::make(Gpu& gpu, const GpuModule& module, const BoundPlan& plan,
                               const CallBuffers& buffers) {
  GpuCall call;
  for (const BoundStep& bound : plan.steps) {
    Step step;
    if (const auto* fill = std::get_if<BoundFill>(&bound)) {
      step.fill = {buffers.at(fill->buffer), fill->bytes, fill->byte};
    } else if (const auto* copy = std::get_if<BoundCopy>(&bound)) {
      step.fill = {buffers.at(copy->to), copy->bytes, 0, buffers.at(copy->from)};
    } else {
      auto launch = prepare(gpu, module, plan, *std::get_if<BoundLaunch>(&bound), buffers,
                            call.steps_.empty());
      if (!launch) return pass_on(launch);
      step.launch = std::move(*launch);
    }
    call.steps_.push_back(std::move(step));
  }
  return call;
}

GpuCall GpuCall::of(std::string name, std::function<Status()> queue) {
  GpuCall call;
  call.last_kernel_ = std::move(name);
  call.steps_.emplace_back().own = std::move(queue);
  return call;
}

Status GpuCall::enqueue(Gpu& gpu) const {
  const Driver& api = gpu.driver();
  for (const Step& step : steps_) {
    Status status;
    if (step.own) {
      status = step.own();
    } else if (step.launch != nullptr) {
      last_kernel_ = step.launch->kernel;
      status = api.launch(&step.launch->config, step.launch->function, step.launch->pointers.data(),
                          nullptr);
    } else if (step.fill.from != 0) {
      status = api.copy_on_device(step.fill.at, step.fill.from, step.fill.bytes, gpu.stream());
    } else {
      status = api.set_bytes(step.fill.at, step.fill.byte, step.fill.bytes, gpu.stream());
    }
    if (status != kSuccess) return status;
  }
  return kSuccess;
}

std::vector<LaunchFit> GpuCall::fit(Gpu& gpu) const {
  std::vector<LaunchFit> list;
  for (const Step& step : steps_) {
    if (step.launch == nullptr) continue;
    const Launch& launch = *step.launch;
    const auto ask = [&](FunctionAttribute attribute) {
      int value = 0;
      (void)gpu.driver().function_attribute(&value, attribute, launch.function);
      return value;
    };
    LaunchFit fit;
    fit.kernel = launch.kernel;
    fit.registers = ask(FunctionAttribute::kRegisters);
    fit.local_bytes = ask(FunctionAttribute::kLocalBytes);
    fit.shared_bytes = ask(FunctionAttribute::kSharedBytes) + launch.config.shared_bytes;
    fit.max_threads = ask(FunctionAttribute::kMaxThreadsPerBlock);
    fill_in_occupancy(gpu, launch.config, launch.function, fit);
    list.push_back(std::move(fit));
  }
  return list;
}

Result<CallGraph> CallGraph::record(Gpu& gpu, const std::vector<const GpuCall*>& calls, int count) {
  const Driver& api = gpu.driver();
  constexpr int kThreadLocal = 1;
  QUERN_TRY(gpu.check(api.stream_begin_capture(gpu.stream(), kThreadLocal), "a graph of calls"));
  Status failed = kSuccess;
  for (int i = 0; i < count && failed == kSuccess; ++i) {
    failed = calls[static_cast<size_t>(i) % calls.size()]->enqueue(gpu);
  }
  GraphHandle graph = nullptr;
  const Status ended = api.stream_end_capture(gpu.stream(), &graph);
  QUERN_TRY(gpu.check(failed == kSuccess ? ended : failed, "a graph of calls"));
  GraphExecHandle exec = nullptr;
  const Status made = api.graph_instantiate(&exec, graph, 0);
  (void)api.graph_destroy(graph);
  QUERN_TRY(gpu.check(made, "a graph of calls"));
  CallGraph recorded(gpu, exec, count);
  // Otherwise the first launch would pay for it, inside a sample.
  QUERN_TRY(gpu.check(api.graph_upload(exec, gpu.stream()), "a graph of calls"));
  return recorded;
}

CallGraph::CallGraph(CallGraph&& other) noexcept
    : gpu_(other.gpu_), graph_(std::exchange(other.graph_, nullptr)), count_(other.count_) {}

CallGraph::~CallGraph() {
  if (graph_ != nullptr && gpu_->fault() == kSuccess) {
    (void)gpu_->driver().graph_exec_destroy(graph_);
  }
}

Status CallGraph::launch() const { return gpu_->driver().graph_launch(graph_, gpu_->stream()); }

Verdict explain_fault(const Driver& driver, Status status, const std::string& kernel) {
  const std::string what = fmt::format("{}: {}", kernel, driver.text(status));
  if (status == kIllegalAddress) {
    return Rejected{"out_of_bounds",
                    "a kernel read or wrote memory that is none of its buffers, or wrote an input",
                    what};
  }
  return Crashed{"a kernel faulted", what, 0};
}

}  // namespace quern::cuda
