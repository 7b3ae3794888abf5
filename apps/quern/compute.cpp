// SPDX-License-Identifier: Apache-2.0
#include "compute.h"

#include <fmt/format.h>

#include <cstring>
#include <span>
#include <utility>

#include "base/file.h"
#include "codegen/reference.h"
#include "device/cpu/kernel_process.h"
#include "ir/check.h"
#include "ir/counts.h"
#include "ir/interpret.h"
#include "task/parse.h"
#include "task_source.h"
#include "verify/oracle.h"
#include "wiring.h"

namespace quern::cli {
namespace {

using Inputs = std::vector<std::vector<double>>;

/// Operations beyond which compiling pays.
constexpr double kInterpretedFlops = 2e7;
constexpr double kComputeLimitS = 900;

std::string bytes_of(const std::vector<double>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)};
}

/// Rounded to what the element type of the input has.
std::vector<double> rounded(std::vector<double> values, DType type) {
  for (double& value : values) {
    if (type == DType::kF32) value = static_cast<float>(value);
  }
  return values;
}

Result<Inputs> read_inputs(const ir::Program& program, const ir::Sizes& sizes,
                           const std::string& path) {
  QUERN_ASSIGN(const std::string bytes, read_file(path, size_t{16} << 30));
  size_t wanted = 0, at = 0;
  Inputs inputs;
  for (const ir::InputDecl& input : program.inputs) {
    inputs.emplace_back(static_cast<size_t>(element_count(ir::evaluate_shape(input.shape, sizes))));
    wanted += inputs.back().size() * sizeof(double);
  }
  if (bytes.size() != wanted) {
    return Error{ErrorKind::kInput,
                 fmt::format("{} has {} bytes; the inputs of {} take {}", path, bytes.size(),
                             program.name, wanted),
                 "raw float64, every input in the order of the task"};
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const size_t size = inputs[i].size() * sizeof(double);
    if (size > 0) std::memcpy(inputs[i].data(), bytes.data() + at, size);
    inputs[i] = rounded(std::move(inputs[i]), program.inputs[i].type);
    at += size;
  }
  return inputs;
}

std::string interpreted(const ir::Program& program, const ir::Sizes& sizes, Inputs inputs) {
  ir::Tensors<double> tensors;
  for (size_t i = 0; i < inputs.size(); ++i) {
    tensors[program.inputs[i].name] = std::move(inputs[i]);
  }
  const ir::Tensors<double> all = ir::run(program, sizes, tensors);
  std::string bytes;
  for (const ir::Statement* output : program.outputs()) bytes += bytes_of(all.at(output->name));
  return bytes;
}

/// Whole numbers as the kernel takes them.
template <class T>
void write_as(std::span<std::byte> to, const std::vector<double>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    const T value = static_cast<T>(values[i]);
    std::memcpy(to.data() + i * sizeof value, &value, sizeof value);
  }
}

void write_input(std::span<std::byte> to, const std::vector<double>& values, DType type) {
  if (is_float(type)) return write_as<double>(to, values);
  if (type == DType::kI32) return write_as<int32_t>(to, values);
  write_as<int64_t>(to, values);
}

template <class T>
void read_as(std::span<const std::byte> from, std::string& bytes) {
  for (size_t at = 0; at < from.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, from.data() + at, sizeof value);
    const auto wide = static_cast<double>(value);
    bytes.append(reinterpret_cast<const char*>(&wide), sizeof wide);
  }
}

void read_output(std::span<const std::byte> from, DType type, std::string& bytes) {
  if (is_float(type)) return read_as<double>(from, bytes);
  if (type == DType::kI32) return read_as<int32_t>(from, bytes);
  read_as<int64_t>(from, bytes);
}

/// Where buffers lie, with f64 in place of f32.
KernelLayout layout_of(const ir::Program& program, const ir::Sizes& sizes) {
  KernelLayout layout;
  layout.sizes = free_size_values(program, sizes);
  layout.inputs = input_bytes(program, sizes);
  layout.outputs = output_bytes(program, sizes);
  for (size_t i = 0; i < layout.inputs.size(); ++i) {
    if (program.inputs[i].type == DType::kF32) layout.inputs[i] *= 2;
  }
  for (size_t i = 0; i < layout.outputs.size(); ++i) {
    if (program.outputs()[i]->type == DType::kF32) layout.outputs[i] *= 2;
  }
  return layout;
}

Result<std::string> compiled(const Context& context, const ir::Program& program,
                             const ir::Sizes& sizes, const Inputs& inputs) {
  QUERN_ASSIGN(std::unique_ptr<CpuCompiler> compiler,
               CpuCompiler::make(compiler_options(context, "g++")));
  CompileJob job;
  job.source = emit_naive_double(program);
  job.trusted = true;
  const auto failed = [&](const Verdict& verdict) {
    return Error{ErrorKind::kInternal,
                 fmt::format("{} cannot be computed: {} ({})", program.name,
                             verdict_reason(verdict), verdict_evidence(verdict)),
                 ""};
  };
  auto binary = compiler->compile(job);
  if (binary.has_error()) return binary.error();
  if (binary.has_verdict()) return failed(binary.verdict());
  KernelLimits limits;
  limits.threads = available_processors();
  limits.memory_bytes = uint64_t{1} << 40;
  auto started = KernelProcess::start(*binary, program.name, layout_of(program, sizes), limits,
                                      /*trusted=*/true);
  if (started.has_error()) return started.error();
  if (started.has_verdict()) return failed(started.verdict());
  KernelProcess& process = **started;
  for (size_t i = 0; i < inputs.size(); ++i) {
    write_input(process.input(0, static_cast<int>(i)), inputs[i], program.inputs[i].type);
  }
  auto ran = process.run(1, kComputeLimitS);
  if (ran.has_error()) return ran.error();
  if (ran.has_verdict()) return failed(ran.verdict());
  std::string bytes;
  const auto outputs = program.outputs();
  for (size_t i = 0; i < outputs.size(); ++i) {
    read_output(process.output(0, static_cast<int>(i)), outputs[i]->type, bytes);
  }
  return bytes;
}

}  // namespace

Result<void> compute_task(const Context& context, const std::string& name, const std::string& size,
                          const ComputeFiles& files) {
  QUERN_ASSIGN(const std::string path, find_task(context, name));
  QUERN_ASSIGN(const ir::Program program, load_task(path));
  QUERN_ASSIGN(const ir::Sizes sizes, ir::bind_sizes(program, size));
  QUERN_TRY(ir::check_sizes(program, sizes));
  QUERN_ASSIGN(Inputs inputs, read_inputs(program, sizes, files.inputs));
  std::string bytes;
  if (ir::count(program, sizes).flops <= kInterpretedFlops) {
    bytes = interpreted(program, sizes, std::move(inputs));
  } else {
    QUERN_ASSIGN(bytes, compiled(context, program, sizes, inputs));
  }
  return write_file_atomic(files.outputs, bytes);
}

}  // namespace quern::cli
