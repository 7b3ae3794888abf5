// SPDX-License-Identifier: Apache-2.0
#include "compute.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "base/file.h"
#include "ir/check.h"
#include "ir/counts.h"
#include "ir/interpret.h"
#include "task/parse.h"
#include "task_source.h"
#include "verify/oracle.h"
#include "wiring.h"

namespace quern::cli {
namespace {

/// Operations beyond which compiling pays.
constexpr double kInterpretedFlops = 2e7;

Result<std::vector<std::vector<double>>> read_inputs(const ir::Program& program,
                                                     const ir::Sizes& sizes,
                                                     const std::string& path) {
  QUERN_ASSIGN(const std::string bytes, read_file(path, size_t{16} << 30));
  size_t wanted = 0, at = 0;
  std::vector<std::vector<double>> inputs;
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
  for (std::vector<double>& input : inputs) {
    if (!input.empty()) std::memcpy(input.data(), bytes.data() + at, input.size() * sizeof(double));
    at += input.size() * sizeof(double);
  }
  return inputs;
}

template <class T>
void append(std::vector<std::byte>& bytes, T value) {
  const auto* first = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), first, first + sizeof value);
}

std::vector<std::byte> as_type(const std::vector<double>& values, DType type) {
  std::vector<std::byte> bytes;
  bytes.reserve(values.size() * static_cast<size_t>(dtype_bytes(type)));
  for (const double value : values) {
    if (type == DType::kF32) append(bytes, static_cast<float>(value));
    if (type == DType::kF64) append(bytes, value);
    if (type == DType::kI32) append(bytes, static_cast<int32_t>(value));
    if (type == DType::kI64) append(bytes, static_cast<int64_t>(value));
  }
  return bytes;
}

std::string interpreted(const ir::Program& program, const ir::Sizes& sizes,
                        const std::vector<std::vector<double>>& inputs) {
  ir::Tensors<double> tensors;
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::vector<double>& values = tensors[program.inputs[i].name] = inputs[i];
    if (program.inputs[i].type != DType::kF32) continue;
    for (double& value : values) value = static_cast<float>(value);
  }
  const ir::Tensors<double> all = ir::run(program, sizes, tensors);
  std::string bytes;
  for (const ir::Statement* output : program.outputs()) {
    const std::vector<double>& values = all.at(output->name);
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double));
  }
  return bytes;
}

Result<std::string> compiled(const Context& context, const ir::Program& program,
                             const ir::Sizes& sizes,
                             const std::vector<std::vector<double>>& inputs) {
  QUERN_ASSIGN(std::unique_ptr<CpuCompiler> compiler,
               CpuCompiler::make(compiler_options(context, "g++")));
  QUERN_ASSIGN(Oracle oracle, Oracle::make(program, *compiler, available_processors()));
  Dataset data;
  for (size_t i = 0; i < inputs.size(); ++i) {
    data.inputs.push_back(as_type(inputs[i], program.inputs[i].type));
  }
  QUERN_TRY(oracle.expect(sizes, data));
  std::string bytes;
  for (const ExpectedOutput& output : data.outputs) {
    bytes.append(reinterpret_cast<const char*>(output.value.data()),
                 output.value.size() * sizeof(double));
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
  QUERN_ASSIGN(const auto inputs, read_inputs(program, sizes, files.inputs));
  std::string bytes;
  if (ir::count(program, sizes).flops <= kInterpretedFlops) {
    bytes = interpreted(program, sizes, inputs);
  } else {
    QUERN_ASSIGN(bytes, compiled(context, program, sizes, inputs));
  }
  return write_file_atomic(files.outputs, bytes);
}

}  // namespace quern::cli
