// SPDX-License-Identifier: Apache-2.0
#include "opencl_machine.h"

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/strings.h"
#include "codegen/prelude.h"
#include "ir/interpret.h"

namespace quern {
namespace {

/// Entry points of the loader, found by name so that nothing links with it.
struct Api {
#define QUERN_CL(NAME) decltype(&::NAME) NAME = nullptr;
#define QUERN_CL_ALL                  \
  QUERN_CL(clGetPlatformIDs)          \
  QUERN_CL(clGetDeviceIDs)            \
  QUERN_CL(clCreateContext)           \
  QUERN_CL(clCreateCommandQueue)      \
  QUERN_CL(clCreateProgramWithSource) \
  QUERN_CL(clBuildProgram)            \
  QUERN_CL(clGetProgramBuildInfo)     \
  QUERN_CL(clCreateKernel)            \
  QUERN_CL(clSetKernelArg)            \
  QUERN_CL(clEnqueueNDRangeKernel)    \
  QUERN_CL(clCreateBuffer)            \
  QUERN_CL(clEnqueueWriteBuffer)      \
  QUERN_CL(clEnqueueReadBuffer)       \
  QUERN_CL(clReleaseMemObject)        \
  QUERN_CL(clReleaseKernel)           \
  QUERN_CL(clReleaseProgram)          \
  QUERN_CL(clFinish)
  QUERN_CL_ALL
#undef QUERN_CL
  bool found = false;
};

Api load_api() {
  Api api;
  void* library = dlopen("libOpenCL.so.1", RTLD_NOW);
  if (library == nullptr) return api;
  api.found = true;
#define QUERN_CL(NAME)                                                    \
  api.NAME = reinterpret_cast<decltype(api.NAME)>(dlsym(library, #NAME)); \
  api.found = api.found && api.NAME != nullptr;
  QUERN_CL_ALL
#undef QUERN_CL
  return api;
}

const Api& cl() {
  static const Api api = load_api();
  return api;
}

Error failed(const std::string& what, int code, const std::string& more = "") {
  return Error{ErrorKind::kEnvironment, fmt::format("{} gives OpenCL error {}", what, code), more};
}

/// An element as its bytes.
void put(DType type, double value, std::byte* at) {
  auto as = [&](auto element) { std::memcpy(at, &element, sizeof(element)); };
  switch (type) {
    case DType::kF32:
      return as(static_cast<float>(value));
    case DType::kF64:
      return as(value);
    case DType::kI32:
      return as(static_cast<int32_t>(value));
    case DType::kI64:
      return as(static_cast<int64_t>(value));
  }
}

}  // namespace

struct OpenclMachine::State {
  cl_device_id device = nullptr;
  cl_context context = nullptr;
  cl_command_queue queue = nullptr;
};

namespace {

/// One program's buffers and kernels, released at the end.
class Session {
 public:
  Session(cl_device_id device, cl_context context, cl_command_queue queue)
      : device_(device), context_(context), queue_(queue) {}
  ~Session() {
    for (auto& [name, buffer] : buffers_) cl().clReleaseMemObject(buffer.memory);
    for (cl_kernel kernel : kernels_) cl().clReleaseKernel(kernel);
    if (program_ != nullptr) cl().clReleaseProgram(program_);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Result<void> build(const ir::Program& program, const ir::Sizes& sizes, std::string source) {
    source = replace_all(source, "#include \"quern_opencl.h\"", opencl_prelude());
    const char* text = source.c_str();
    int code = 0;
    program_ = cl().clCreateProgramWithSource(context_, 1, &text, nullptr, &code);
    if (code != CL_SUCCESS) return failed("making a program", code);
    std::string options = "-cl-std=CL1.2";
    for (const std::string& size : program.free_sizes()) {
      options += fmt::format(" -DQUERN_SIZE_{}={}", size, sizes.at(size));
    }
    code = cl().clBuildProgram(program_, 1, &device_, options.c_str(), nullptr, nullptr);
    if (code == CL_SUCCESS) return {};
    std::string log(1 << 16, '\0');
    cl().clGetProgramBuildInfo(program_, device_, CL_PROGRAM_BUILD_LOG, log.size(), log.data(),
                               nullptr);
    return failed("building", code, log.c_str());
  }

  Result<void> add_buffer(const std::string& name, DType type, int64_t count,
                          const std::vector<double>* values) {
    Buffer buffer{nullptr, type, count};
    const auto bytes = static_cast<size_t>(count * dtype_bytes(type));
    int code = 0;
    buffer.memory = cl().clCreateBuffer(context_, CL_MEM_READ_WRITE, bytes, nullptr, &code);
    if (code != CL_SUCCESS) return failed("a buffer", code);
    std::vector<std::byte> host(bytes, std::byte{0xff});
    for (size_t i = 0; values != nullptr && i < values->size(); ++i) {
      put(type, (*values)[i], host.data() + i * static_cast<size_t>(dtype_bytes(type)));
    }
    code = cl().clEnqueueWriteBuffer(queue_, buffer.memory, CL_TRUE, 0, bytes, host.data(), 0,
                                     nullptr, nullptr);
    buffers_[name] = buffer;
    return code == CL_SUCCESS ? Result<void>() : failed("filling a buffer", code);
  }

  Result<std::vector<double>> read(const std::string& name) {
    const Buffer& buffer = buffers_.at(name);
    const auto size = static_cast<size_t>(dtype_bytes(buffer.type));
    std::vector<std::byte> host(static_cast<size_t>(buffer.count) * size);
    const int code = cl().clEnqueueReadBuffer(queue_, buffer.memory, CL_TRUE, 0, host.size(),
                                              host.data(), 0, nullptr, nullptr);
    if (code != CL_SUCCESS) return failed("reading " + name, code);
    std::vector<double> values;
    for (int64_t i = 0; i < buffer.count; ++i) {
      values.push_back(load_number(buffer.type, host.data() + static_cast<size_t>(i) * size));
    }
    return values;
  }

  Result<void> prepare(const ir::Program& program, const ir::Sizes& sizes,
                       const DeviceKernel& kernel) {
    int code = 0;
    cl_kernel made = cl().clCreateKernel(program_, kernel.name.c_str(), &code);
    if (code != CL_SUCCESS) return failed("kernel " + kernel.name, code);
    kernels_.push_back(made);
    cl_uint position = 0;
    for (const std::vector<std::string>* names : {&kernel.reads, &kernel.writes}) {
      for (const std::string& name : *names) {
        const cl_mem memory = buffers_.at(name).memory;
        code = cl().clSetKernelArg(made, position++, sizeof(cl_mem), &memory);
        if (code != CL_SUCCESS) return failed("an argument of " + kernel.name, code);
      }
    }
    for (const std::string& size : program.free_sizes()) {
      const cl_long value = sizes.at(size);
      code = cl().clSetKernelArg(made, position++, sizeof(value), &value);
      if (code != CL_SUCCESS) return failed("a size of " + kernel.name, code);
    }
    return {};
  }

  Result<void> launch(const ir::Sizes& sizes, const DeviceKernel& kernel, size_t position) {
    const auto block = static_cast<size_t>(kernel.threads);
    const size_t grid = static_cast<size_t>(ir::evaluate(kernel.blocks, sizes)) * block;
    const int code = cl().clEnqueueNDRangeKernel(queue_, kernels_[position], 1, nullptr, &grid,
                                                 &block, 0, nullptr, nullptr);
    return code == CL_SUCCESS ? Result<void>() : failed("launching " + kernel.name, code);
  }

  Result<double> run(const ir::Sizes& sizes, const DeviceProgram& made) {
    const auto start = std::chrono::steady_clock::now();
    for (size_t k = 0; k < made.kernels.size(); ++k) {
      QUERN_TRY(launch(sizes, made.kernels[k], k));
    }
    const int code = cl().clFinish(queue_);
    if (code != CL_SUCCESS) return failed("running", code);
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start)
        .count();
  }

 private:
  struct Buffer {
    cl_mem memory = nullptr;
    DType type = DType::kF32;
    int64_t count = 0;
  };
  cl_device_id device_;
  cl_context context_;
  cl_command_queue queue_;
  cl_program program_ = nullptr;
  std::map<std::string, Buffer> buffers_;
  std::vector<cl_kernel> kernels_;
};

Result<void> set_up(Session* session, const ir::Program& program, const ir::Sizes& sizes,
                    const DeviceProgram& made, const std::string& source,
                    const HostTensors& inputs) {
  QUERN_TRY(session->build(program, sizes, source));
  auto count = [&](const std::string& name) {
    return element_count(ir::shape_of(program, name, sizes));
  };
  for (const ir::InputDecl& input : program.inputs) {
    QUERN_TRY(
        session->add_buffer(input.name, input.type, count(input.name), &inputs.at(input.name)));
  }
  for (const ir::Statement* output : program.outputs()) {
    QUERN_TRY(session->add_buffer(output->name, output->type, count(output->name), nullptr));
  }
  for (const DeviceScratch& scratch : made.scratch) {
    const int64_t elements = element_count(ir::evaluate_shape(scratch.shape, sizes));
    QUERN_TRY(session->add_buffer(scratch.name, scratch.type, elements, nullptr));
  }
  for (const DeviceKernel& kernel : made.kernels) {
    QUERN_TRY(session->prepare(program, sizes, kernel));
  }
  return {};
}

}  // namespace

OpenclMachine* OpenclMachine::get() {
  static OpenclMachine* machine = []() -> OpenclMachine* {
    if (!cl().found) return nullptr;
    cl_platform_id platform = nullptr;
    cl_uint platforms = 0;
    static State state;
    if (cl().clGetPlatformIDs(1, &platform, &platforms) != CL_SUCCESS || platforms == 0) {
      return nullptr;
    }
    if (cl().clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &state.device, nullptr) !=
        CL_SUCCESS) {
      return nullptr;
    }
    int code = 0;
    state.context = cl().clCreateContext(nullptr, 1, &state.device, nullptr, nullptr, &code);
    if (code != CL_SUCCESS) return nullptr;
    state.queue = cl().clCreateCommandQueue(state.context, state.device, 0, &code);
    if (code != CL_SUCCESS) return nullptr;
    static OpenclMachine made(&state);
    return &made;
  }();
  return machine;
}

Result<HostTensors> OpenclMachine::run(const ir::Program& program, const ir::Sizes& sizes,
                                       const DeviceProgram& made, const std::string& source,
                                       const HostTensors& inputs) {
  Session session(state_->device, state_->context, state_->queue);
  QUERN_TRY(set_up(&session, program, sizes, made, source, inputs));
  QUERN_TRY(session.run(sizes, made));
  HostTensors outputs;
  for (const ir::Statement* output : program.outputs()) {
    QUERN_ASSIGN(outputs[output->name], session.read(output->name));
  }
  return outputs;
}

Result<double> OpenclMachine::time(const ir::Program& program, const ir::Sizes& sizes,
                                   const DeviceProgram& made, const std::string& source,
                                   const HostTensors& inputs, int repeats) {
  Session session(state_->device, state_->context, state_->queue);
  QUERN_TRY(set_up(&session, program, sizes, made, source, inputs));
  QUERN_TRY(session.run(sizes, made));
  double best = std::numeric_limits<double>::infinity();
  for (int r = 0; r < repeats; ++r) {
    QUERN_ASSIGN(const double took, session.run(sizes, made));
    best = std::min(best, took);
  }
  return best;
}

std::vector<std::byte> element_bytes(DType type, const std::vector<double>& values) {
  const auto size = static_cast<size_t>(dtype_bytes(type));
  std::vector<std::byte> bytes(values.size() * size);
  for (size_t i = 0; i < values.size(); ++i) put(type, values[i], bytes.data() + i * size);
  return bytes;
}

HostTensors draw_host_inputs(const ir::Program& program, const ir::Sizes& sizes, unsigned seed) {
  std::mt19937 random(seed);
  HostTensors tensors;
  for (const ir::InputDecl& input : program.inputs) {
    std::vector<double>& values = tensors[input.name];
    const auto count = static_cast<size_t>(element_count(ir::shape_of(program, input.name, sizes)));
    const bool whole = input.distribution.kind == ir::Distribution::Kind::kIntegers;
    const int64_t low = whole ? ir::evaluate(input.distribution.low, sizes) : -8;
    const int64_t high = whole ? ir::evaluate(input.distribution.high, sizes) : 8;
    for (size_t i = 0; i < count; ++i) {
      const auto drawn =
          static_cast<double>(low + static_cast<int64_t>(random() % (high - low + 1)));
      values.push_back(whole ? drawn : drawn / 8 + 1.0 / 64);
    }
  }
  return tensors;
}

std::string difference_from_meaning(const ir::Program& program, const ir::Sizes& sizes,
                                    const HostTensors& inputs, const HostTensors& outputs) {
  ir::Tensors<RunningError> given;
  for (const auto& [name, values] : inputs) given[name].assign(values.begin(), values.end());
  const ir::Tensors<RunningError> meant = ir::run(program, sizes, given);
  for (const ir::Statement* output : program.outputs()) {
    const std::vector<RunningError>& want = meant.at(output->name);
    const std::vector<double>& got = outputs.at(output->name);
    if (want.size() != got.size()) return output->name + " has another number of elements";
    for (size_t i = 0; i < want.size(); ++i) {
      const double slack = is_float(output->type) ? 16 * 0x1p-24 * want[i].e + 1e-37 : 0;
      if (std::fabs(got[i] - want[i].v) <= slack) continue;
      return fmt::format("{}: element {} of {} is {}, meant {} within {}", output->name, i,
                         want.size(), got[i], want[i].v, slack);
    }
  }
  return "";
}

}  // namespace quern
