// SPDX-License-Identifier: Apache-2.0
#include "codegen/emit_cpu.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/contraction.h"
#include "codegen/group.h"
#include "codegen/nest.h"
#include "codegen/recurrence_cpu.h"

namespace quern {
namespace {

using ir::Program;
using ir::Statement;

std::string plan_lines(const Program& program, const Schedule& schedule) {
  std::string text =
      fmt::format("// quern: entry = {}\n// quern: specialize = sizes\n", program.name);
  if (!schedule.trace.empty()) text += "//\n";
  for (const Step& step : schedule.trace) text += "//   " + print(step) + "\n";
  text += "#include \"quern_cpu.h\"\n";
  const auto any = [&](Skeleton skeleton) {
    return std::any_of(schedule.groups.begin(), schedule.groups.end(),
                       [&](const Group& g) { return g.skeleton == skeleton; });
  };
  if (any(Skeleton::kContraction)) text += "#include \"quern_gemm.h\"\n";
  if (any(Skeleton::kRecurrence)) text += "#include \"quern_recurrence.h\"\n";
  return text + "\n";
}

/// `QUERN_SIZES`: every size as a constant, from the arguments `z_<size>` or the compiler's command
/// line.
std::string size_macro(const Program& program) {
  std::string text;
  for (const std::string& size : program.free_sizes()) {
    text += fmt::format("#ifndef QUERN_SIZE_{0}\n#define QUERN_SIZE_{0} z_{0}\n#endif\n", size);
  }
  text += "#define QUERN_SIZES \\\n";
  for (const ir::SizeDecl& size : program.sizes) {
    const std::string value =
        size.let ? c_int(program, *size.let) : fmt::format("QUERN_SIZE_{}", size.name);
    text +=
        fmt::format("  [[maybe_unused]] const int64_t {} = {}; \\\n", size_id(size.name), value);
    if (!size.let) text += fmt::format("  static_cast<void>(z_{}); \\\n", size.name);
  }
  return text + "  static_assert(true)\n\n";
}

std::string entry_signature(const Program& program) {
  std::vector<std::string> params;
  for (const std::string& size : program.free_sizes()) params.push_back("int64_t z_" + size);
  for (const ir::InputDecl& input : program.inputs) {
    params.push_back(
        fmt::format("[[maybe_unused]] const {}* {}", c_type(input.type), tensor_id(input.name)));
  }
  for (const Statement* output : program.outputs()) {
    params.push_back(fmt::format("{}* {}", c_type(output->type), tensor_id(output->name)));
  }
  return fmt::format("extern \"C\" void {}({})", program.name, fmt::join(params, ", "));
}

/// Memory for tensors that one group stores and another reads.
std::string materialise(const Program& program, const Schedule& schedule) {
  std::string text;
  for (size_t g = 0; g < schedule.groups.size(); ++g) {
    int id = static_cast<int>(64 * schedule.groups.size());
    for (const std::string& name : group_writes(program, schedule.groups[g])) {
      const Statement& statement = *program.find_statement(name);
      if (statement.is_output) continue;
      std::string bytes = fmt::format("static_cast<int64_t>(sizeof({}))", c_type(statement.type));
      for (const ir::Axis& axis : statement.axes) bytes += " * " + c_int(program, axis.extent);
      const int number = id + program.statement_index(name);
      text += fmt::format("  {0}* const {1} = static_cast<{0}*>(q_scratch({2}, {3}));\n",
                          c_type(statement.type), tensor_id(name), number, bytes);
    }
  }
  return text;
}

std::string call(const Program& program, const Group& group, size_t number) {
  std::vector<std::string> args;
  for (const std::string& size : program.free_sizes()) args.push_back("z_" + size);
  for (const std::string& name : group_reads(program, group)) args.push_back(tensor_id(name));
  for (const std::string& name : group_writes(program, group)) args.push_back(tensor_id(name));
  return fmt::format("  group_{}({});\n", number, fmt::join(args, ", "));
}

Result<void> check_types(const Program& program) {
  auto fault = [](const std::string& name) {
    return Error{ErrorKind::kInput,
                 fmt::format("`{}` is f64, which CPU kernels do not compute yet", name),
                 "declare it f32"};
  };
  for (const ir::InputDecl& input : program.inputs) {
    if (input.type == DType::kF64) return fault(input.name);
  }
  for (const Statement& statement : program.statements) {
    if (statement.type == DType::kF64) return fault(statement.name);
  }
  return {};
}

bool contraction_group(const Program& program, const Group& group) {
  return group.skeleton == Skeleton::kContraction && group.root >= 0 &&
         is_contraction(program, group.root);
}

}  // namespace

Result<std::string> emit_cpu(const Program& program, const Schedule& schedule) {
  QUERN_TRY(check_types(program));
  std::string text = plan_lines(program, schedule) + size_macro(program);
  for (size_t g = 0; g < schedule.groups.size(); ++g) {
    const Group& group = schedule.groups[g];
    const int number = static_cast<int>(g);
    if (group.skeleton == Skeleton::kRecurrence) {
      text += emit_recurrence_group(program, group, number) + "\n";
    } else if (contraction_group(program, group)) {
      QUERN_ASSIGN(std::string function, emit_contraction_group(program, group, number));
      text += function + "\n";
    } else {
      QUERN_ASSIGN(std::string function, emit_nest_group(program, group, number));
      text += function + "\n";
    }
  }
  text += entry_signature(program) + " {\n  QUERN_SIZES;\n" + materialise(program, schedule);
  for (size_t g = 0; g < schedule.groups.size(); ++g) {
    text += call(program, schedule.groups[g], g);
  }
  return text + "}\n";
}

}  // namespace quern
