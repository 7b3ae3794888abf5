// SPDX-License-Identifier: Apache-2.0
#include "verify/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "codegen/reference.h"
#include "device/cpu/kernel_process.h"
#include "verify/rounding_samples.h"

namespace quern {
namespace {

constexpr double kOracleLimitS = 900;

size_t bytes_of(const std::vector<ir::IntExpr>& shape, DType type, const ir::Sizes& sizes) {
  return static_cast<size_t>(element_count(ir::evaluate_shape(shape, sizes)) * dtype_bytes(type));
}

std::vector<ir::IntExpr> extents(const ir::Statement& statement) {
  std::vector<ir::IntExpr> shape;
  for (const ir::Axis& axis : statement.axes) shape.push_back(axis.extent);
  return shape;
}

Error oracle_failed(const ir::Program& program, const Verdict& verdict) {
  return Error{ErrorKind::kEnvironment,
               fmt::format("the oracle of task {} did not finish: {} ({})", program.name,
                           verdict_reason(verdict), verdict_evidence(verdict)),
               "Is there enough memory? Try a smaller size set."};
}

std::vector<double> doubles(std::span<const std::byte> bytes) {
  std::vector<double> values(bytes.size() / sizeof(double));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace

std::vector<int64_t> free_size_values(const ir::Program& program, const ir::Sizes& sizes) {
  std::vector<int64_t> values;
  for (const std::string& name : program.free_sizes()) values.push_back(sizes.at(name));
  return values;
}

std::vector<uint64_t> input_bytes(const ir::Program& program, const ir::Sizes& sizes) {
  std::vector<uint64_t> bytes;
  for (const ir::InputDecl& input : program.inputs) {
    bytes.push_back(bytes_of(input.shape, input.type, sizes));
  }
  return bytes;
}

std::vector<uint64_t> output_bytes(const ir::Program& program, const ir::Sizes& sizes) {
  std::vector<uint64_t> bytes;
  for (const ir::Statement* output : program.outputs()) {
    bytes.push_back(bytes_of(extents(*output), output->type, sizes));
  }
  return bytes;
}

double evaluation_bytes(const ir::Program& program, const ir::Sizes& sizes) {
  double inputs = 0, expected = 0, outputs = 0, between = 0;
  for (uint64_t bytes : input_bytes(program, sizes)) inputs += static_cast<double>(bytes);
  for (const ir::Statement* output : program.outputs()) {
    const double count = static_cast<double>(bytes_of(extents(*output), DType::kF32, sizes)) / 4;
    expected += 16 * count;
    outputs += count * static_cast<double>(dtype_bytes(output->type));
  }
  for (const ir::Statement& statement : program.statements) {
    between += 6 * static_cast<double>(bytes_of(extents(statement), DType::kF32, sizes));
  }
  // Four data sets kept, one oracle run (scalars of three words), two processes in a duel.
  return 4 * (inputs + expected) + between + 2 * (inputs + outputs);
}

namespace {

Result<Binary> built(const ir::Program& program, CpuCompiler& compiler, std::string source) {
  CompileJob job;
  job.source = std::move(source);
  job.trusted = true;
  auto binary = compiler.compile(job);
  if (binary.has_error()) return binary.error();
  if (binary.has_verdict()) {
    return Error{ErrorKind::kInternal,
                 fmt::format("the oracle of task {} does not compile: {}\n{}", program.name,
                             verdict_reason(binary.verdict()), verdict_evidence(binary.verdict())),
                 "This is a bug in Quern; please report it with the task."};
  }
  return std::move(*binary);
}

}  // namespace

Result<Oracle> Oracle::make(const ir::Program& program, CpuCompiler& compiler, int threads,
                            Contract contract) {
  QUERN_ASSIGN(Binary binary, built(program, compiler, emit_oracle(program, contract)));
  std::optional<Binary> shaken;
  if (may_outgrow(program, contract)) {
    QUERN_ASSIGN(shaken, built(program, compiler, emit_shaken_oracle(program, contract)));
  }
  return Oracle(program, std::move(binary), std::move(shaken), threads, contract);
}

Result<void> Oracle::run(const Binary& binary, const std::string& entry, const ir::Sizes& sizes,
                         Dataset& data) const {
  KernelLayout layout;
  layout.sizes = free_size_values(program_, sizes);
  layout.inputs = input_bytes(program_, sizes);
  const auto outputs = program_.outputs();
  for (const ir::Statement* output : outputs) {
    const size_t count = bytes_of(extents(*output), DType::kF64, sizes);
    layout.outputs.push_back(count);
    layout.outputs.push_back(count);
  }
  KernelLimits limits;
  limits.threads = threads_;
  limits.memory_bytes = uint64_t{1} << 40;
  auto process = KernelProcess::start(binary, entry, layout, limits, /*trusted=*/true);
  if (process.has_error()) return process.error();
  if (process.has_verdict()) return oracle_failed(program_, process.verdict());
  KernelProcess& oracle = **process;
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    std::ranges::copy(data.inputs[i], oracle.input(0, static_cast<int>(i)).begin());
  }
  auto ran = oracle.run(1, kOracleLimitS);
  if (ran.has_error()) return ran.error();
  if (ran.has_verdict()) return oracle_failed(program_, ran.verdict());
  data.outputs.clear();
  for (size_t i = 0; i < outputs.size(); ++i) {
    ExpectedOutput expected;
    expected.name = outputs[i]->name;
    expected.type = outputs[i]->type;
    expected.shape = ir::evaluate_shape(extents(*outputs[i]), sizes);
    expected.value = doubles(oracle.output(0, static_cast<int>(2 * i)));
    expected.scale = doubles(oracle.output(0, static_cast<int>(2 * i + 1)));
    data.outputs.push_back(std::move(expected));
  }
  return {};
}

Result<void> Oracle::expect(const ir::Sizes& sizes, Dataset& data) const {
  data.exact = data.sampled = false;
  data.sampled_share = 1;
  QUERN_TRY(run(binary_, "oracle_bound", sizes, data));
  if (!shaken_ || std::ranges::none_of(data.outputs, outgrown)) return {};
  std::vector<ExpectedOutput> outputs = std::move(data.outputs);
  QUERN_TRY(run(*shaken_, "oracle_shaken", sizes, data));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outgrown(outputs[i])) continue;
    data.sampled_share =
        std::max(data.sampled ? data.sampled_share : 0, take_samples(data.outputs[i], outputs[i]));
    data.sampled = true;
  }
  data.outputs = std::move(outputs);
  return {};
}

Result<void> Oracle::expect_exact(const ir::Sizes& sizes, Dataset& data) const {
  QUERN_TRY(run(binary_, "oracle_exact", sizes, data));
  data.exact = true;
  for (const ExpectedOutput& output : data.outputs) {
    // The second array of `oracle_exact` is 0 where the element is exact.
    data.exact = data.exact && std::ranges::all_of(output.scale, [](double s) { return s == 0; });
  }
  return {};
}

}  // namespace quern
