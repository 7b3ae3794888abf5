// SPDX-License-Identifier: Apache-2.0
#include "device/opencl/opencl_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "base/suggest.h"
#include "device/fault_report.h"

namespace quern {
namespace {

template <class T>
bool fits(int64_t value) {
  return value >= static_cast<int64_t>(std::numeric_limits<T>::min()) &&
         value <= static_cast<int64_t>(std::numeric_limits<T>::max());
}

Verdict cannot_launch(const std::string& reason, const std::string& evidence = "") {
  return LaunchFailed{reason, evidence};
}

}  // namespace

Outcome<OpenClProgram> OpenClProgram::load(OpenClDevice& device, const std::string& image,
                                           const BoundPlan& plan,
                                           const std::vector<BufferSet>& sets,
                                           const FindBuffer& find) {
  OpenClProgram program(device, plan);
  if (auto built = program.build(image); !built) return pass_on(built);
  if (auto made = program.make_scratch(); !made) return pass_on(made);
  for (const BoundStep& step : program.plan_.steps) {
    const auto* launch = std::get_if<BoundLaunch>(&step);
    if (launch == nullptr) continue;
    if (auto made = program.make_launch(*launch, sets, find); !made) return pass_on(made);
  }
  return program;
}

OpenClProgram::OpenClProgram(OpenClProgram&& other) noexcept
    : device_(other.device_),
      plan_(std::move(other.plan_)),
      image_(std::move(other.image_)),
      program_(std::exchange(other.program_, nullptr)),
      scratch_(std::move(other.scratch_)),
      launches_(std::exchange(other.launches_, {})),
      resources_(std::move(other.resources_)) {}

OpenClProgram::~OpenClProgram() {
  for (const Launch& launch : launches_) {
    for (cl_kernel kernel : launch.kernels) device_->api.ReleaseKernel(kernel);
  }
  if (program_ != nullptr) device_->api.ReleaseProgram(program_);
}

Outcome<Done> OpenClProgram::build(const std::string& image) {
  auto parts = from_wire<OpenClImage>(image);
  if (!parts) return Error{ErrorKind::kInternal, "a binary is not one of ours", ""};
  image_ = std::move(std::get<0>(*parts));
  const auto* bytes = reinterpret_cast<const unsigned char*>(image_.binary.data());
  const size_t size = image_.binary.size();
  cl_int loaded = CL_SUCCESS;
  cl_int status = CL_SUCCESS;
  program_ = device_->api.CreateProgramWithBinary(device_->context, 1, &device_->device, &size,
                                                  &bytes, &loaded, &status);
  if (status == CL_SUCCESS) {
    status = device_->api.BuildProgram(program_, 1, &device_->device, "", nullptr, nullptr);
  }
  if (status == CL_SUCCESS) return Done{};
  return cannot_launch("the device does not take the binary: " + opencl_status_name(status));
}

Outcome<Done> OpenClProgram::make_scratch() {
  const DeviceProperties& device = device_->properties;
  if (plan_.scratch_bytes() > device.memory_bytes / 2) {
    return cannot_launch(fmt::format("scratch takes {} bytes, more than half of the device's {}",
                                     plan_.scratch_bytes(), device.memory_bytes),
                         "split the work, or keep less between kernels");
  }
  for (size_t i = 0; i < plan_.scratch.size(); ++i) {
    const BoundScratch& one = plan_.scratch[i];
    if (device.largest_buffer_bytes > 0 && one.bytes > device.largest_buffer_bytes) {
      return cannot_launch(fmt::format("scratch {} takes {} bytes, and {} at most", one.name,
                                       one.bytes, device.largest_buffer_bytes));
    }
    auto memory = OpenClMemory::make(*device_, kFirstScratchId + static_cast<BufferId>(i),
                                     one.bytes, Placement::kRight);
    if (!memory) return cannot_launch("no memory for its scratch", memory.error().message);
    scratch_.push_back(std::move(*memory));
  }
  return Done{};
}

Outcome<Done> OpenClProgram::make_launch(const BoundLaunch& bound,
                                         const std::vector<BufferSet>& sets,
                                         const FindBuffer& find) {
  launches_.push_back({&bound, {}});
  for (const BufferSet& set : sets) {
    cl_int status = CL_SUCCESS;
    cl_kernel kernel = device_->api.CreateKernel(program_, bound.kernel.c_str(), &status);
    if (status == CL_INVALID_KERNEL_NAME) {
      std::vector<std::string> known;
      for (const OpenClImage::Kernel& each : image_.kernels) known.push_back(each.name);
      return cannot_launch(
          fmt::format("there is no kernel {} in the candidate", bound.kernel),
          fmt::format("its kernels: {}. {}", join(known, ", "), did_you_mean(bound.kernel, known)));
    }
    if (status != CL_SUCCESS) {
      return cannot_launch(
          fmt::format("kernel {} cannot be made: {}", bound.kernel, opencl_status_name(status)));
    }
    launches_.back().kernels.push_back(kernel);
    cl_uint wanted = 0;
    device_->api.GetKernelInfo(kernel, CL_KERNEL_NUM_ARGS, sizeof wanted, &wanted, nullptr);
    if (wanted != bound.arguments.size()) {
      return cannot_launch(fmt::format("kernel {} takes {} arguments, its launch gives {}",
                                       bound.kernel, wanted, bound.arguments.size()));
    }
    for (cl_uint i = 0; i < wanted; ++i) {
      if (auto done = set_argument(kernel, i, bound, set, find); !done) return done;
    }
  }
  return add_resources(launches_.back().kernels.front(), bound);
}

/// " ('scale', of type float)", as far as it is known.
std::string OpenClProgram::parameter_text(const BoundLaunch& launch, cl_uint index) const {
  const OpenClImage::Kernel* kernel = image_.find(launch.kernel);
  if (kernel == nullptr || index >= kernel->parameters.size()) return "";
  const auto& [type, name] = kernel->parameters[index];
  return type.empty() ? "" : fmt::format(" ('{}', of type {})", name, type);
}

Verdict OpenClProgram::bad_argument(cl_uint index, const BoundLaunch& launch,
                                    const std::string& why) const {
  return cannot_launch(fmt::format("argument {} of kernel {}{} {}", index + 1, launch.kernel,
                                   parameter_text(launch, index), why),
                       "the launch's args follow the kernel's parameters one by one");
}

Outcome<Done> OpenClProgram::set_argument(cl_kernel kernel, cl_uint index,
                                          const BoundLaunch& launch, const BufferSet& set,
                                          const FindBuffer& find) {
  using Kind = LaunchArgument::Kind;
  const BoundArgument& argument = launch.arguments[index];
  cl_int status = CL_SUCCESS;
  if (argument.kind == Kind::kWhole) return set_whole(kernel, index, launch);
  if (argument.kind == Kind::kShared) {
    const size_t bytes = std::max<size_t>(launch.shared_bytes, 1);
    status = device_->api.SetKernelArg(kernel, index, bytes, nullptr);
  } else if (argument.kind == Kind::kScalar) {
    status = set_scalar(kernel, index, argument);
  } else if (argument.kind == Kind::kBuffer) {
    const auto at = static_cast<size_t>(argument.buffer.index);
    const bool input = argument.buffer.kind == BufferRef::Kind::kInput;
    const OpenClMemory* memory = argument.buffer.kind == BufferRef::Kind::kScratch
                                     ? &scratch_[at]
                                     : find((input ? set.inputs : set.outputs)[at]);
    if (memory == nullptr) return Error{ErrorKind::kInternal, "a set names no buffer", ""};
    cl_mem handle = memory->memory();
    // The handle itself is the argument. NOLINTNEXTLINE(bugprone-sizeof-expression)
    status = device_->api.SetKernelArg(kernel, index, sizeof handle, &handle);
  } else {
    return cannot_launch("tensor maps exist on CUDA only");
  }
  if (status == CL_SUCCESS) return Done{};
  return bad_argument(index, launch,
                      "does not take what it is given: " + opencl_status_name(status));
}

/// The parameter's width is the one that the driver accepts.
Outcome<Done> OpenClProgram::set_whole(cl_kernel kernel, cl_uint index, const BoundLaunch& launch) {
  const int64_t value = launch.arguments[index].whole;
  const std::string type = parameter_text(launch, index);
  for (const char* real : {"type float)", "type double)", "type half)"}) {
    if (type.ends_with(real)) {
      return bad_argument(index, launch, "is given a whole number: write f32(…) or f64(…)");
    }
  }
  const auto try_as = [&]<class T>(T narrow) {
    return device_->api.SetKernelArg(kernel, index, sizeof narrow, &narrow) == CL_SUCCESS;
  };
  if (try_as(static_cast<cl_long>(value))) return Done{};
  const auto fitting = [&](bool fits_it) -> Outcome<Done> {
    if (fits_it) return Done{};
    return bad_argument(index, launch, fmt::format("is too narrow for {}", value));
  };
  if (try_as(static_cast<cl_int>(value)))
    return fitting(fits<cl_int>(value) || fits<cl_uint>(value));
  if (try_as(static_cast<cl_short>(value))) {
    return fitting(fits<cl_short>(value) || fits<cl_ushort>(value));
  }
  if (try_as(static_cast<cl_char>(value)))
    return fitting(fits<cl_char>(value) || fits<cl_uchar>(value));
  return bad_argument(index, launch, "is not an integer");
}

cl_int OpenClProgram::set_scalar(cl_kernel kernel, cl_uint index, const BoundArgument& argument) {
  if (argument.type == PlanType::kF32) {
    const auto value = static_cast<cl_float>(argument.real);
    return device_->api.SetKernelArg(kernel, index, sizeof value, &value);
  }
  if (argument.type == PlanType::kF64) {
    const cl_double value = argument.real;
    return device_->api.SetKernelArg(kernel, index, sizeof value, &value);
  }
  // Little-endian: the low bytes come first.
  const int64_t value = argument.whole;
  return device_->api.SetKernelArg(kernel, index,
                                   static_cast<size_t>(plan_type_bytes(argument.type)), &value);
}

Outcome<Done> OpenClProgram::add_resources(cl_kernel kernel, const BoundLaunch& launch) {
  const auto info = [&]<class T>(T value, cl_kernel_work_group_info what) {
    device_->api.GetKernelWorkGroupInfo(kernel, device_->device, what, sizeof value, &value,
                                        nullptr);
    return value;
  };
  KernelResources resources;
  resources.kernel = launch.kernel;
  resources.max_threads = static_cast<int>(info(size_t{0}, CL_KERNEL_WORK_GROUP_SIZE));
  // The driver counts what was set as an argument as well.
  resources.shared_bytes = static_cast<int64_t>(info(cl_ulong{0}, CL_KERNEL_LOCAL_MEM_SIZE));
  resources.spill_bytes = static_cast<int64_t>(info(cl_ulong{0}, CL_KERNEL_PRIVATE_MEM_SIZE));
  resources_.push_back(resources);
  const auto most = static_cast<int64_t>(device_->properties.shared_bytes);
  if (std::max<int64_t>(resources.shared_bytes, launch.shared_bytes) > most) {
    return cannot_launch(fmt::format("kernel {} takes {} bytes of local memory, the device has {}",
                                     launch.kernel, resources.shared_bytes, most));
  }
  const int64_t threads = int64_t{launch.block[0]} * launch.block[1] * launch.block[2];
  if (resources.max_threads > 0 && threads > resources.max_threads) {
    return cannot_launch(
        fmt::format("a work-group of {} work-items is too large for kernel {}: "
                    "{} at most",
                    threads, launch.kernel, resources.max_threads));
  }
  return Done{};
}

Result<void> OpenClProgram::poison_scratch(uint8_t byte) {
  for (OpenClMemory& memory : scratch_) QUERN_TRY(memory.fill(byte));
  return {};
}

Result<bool> OpenClProgram::scratch_intact() const {
  for (const OpenClMemory& memory : scratch_) {
    QUERN_ASSIGN(const bool intact, memory.intact());
    if (!intact) return false;
  }
  return true;
}

Outcome<Done> OpenClProgram::enqueue(size_t set) {
  size_t next = 0;
  for (const BoundStep& step : plan_.steps) {
    if (const auto* fill = std::get_if<BoundFill>(&step)) {
      const OpenClMemory& memory = scratch_[static_cast<size_t>(fill->buffer.index)];
      const cl_int status = device_->api.EnqueueFillBuffer(
          device_->queue, memory.memory(), &fill->byte, 1, 0, memory.bytes(), 0, nullptr, nullptr);
      if (auto done = device_->check(status, "fill scratch"); !done) return done.error();
      continue;
    }
    const Launch& launch = launches_[next++];
    size_t local[3], global[3];
    for (size_t axis = 0; axis < 3; ++axis) {
      local[axis] = launch.bound->block[axis];
      global[axis] = local[axis] * launch.bound->grid[axis];
    }
    const cl_int status = device_->api.EnqueueNDRangeKernel(
        device_->queue, launch.kernels[set], 3, nullptr, global, local, 0, nullptr, nullptr);
    if (status != CL_SUCCESS) {
      return cannot_launch(fmt::format("kernel {} cannot be launched: {}", launch.bound->kernel,
                                       opencl_status_name(status)));
    }
  }
  return Done{};
}

}  // namespace quern
