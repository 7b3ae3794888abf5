// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/strings.h"
#include "codegen/device_recurrence.h"
#include "codegen/device_text.h"
#include "codegen/lines.h"
#include "codegen/reference_printer.h"
#include "schedule/rows.h"

extern "C" const char kQuernScalarHeader[];
extern "C" const char kQuernDeviceOracleHead[];
extern "C" const char kQuernDeviceOracleTail[];

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Program;
using ir::Statement;

constexpr int kThreads = 256;

constexpr size_t kLargestBody = 400;  ///< nodes of an expression that readers recompute

size_t nodes(const Expr& expr) {
  size_t count = 1;
  for (const Expr& arg : expr.args) count += nodes(arg);
  return count;
}

/// Statements with their maps inlined: outputs, and the reductions and scans that others read. A
/// map that has grown large by what it inlines itself is kept.
std::vector<Statement> without_maps(const Program& program) {
  Group group;
  std::map<std::string, size_t> inlined;  ///< and how large they are
  const std::vector<ir::Recurrence> loops = ir::recurrences(program);
  for (size_t s = 0; s < program.statements.size(); ++s) {
    const Statement& statement = program.statements[s];
    group.statements.push_back(static_cast<int>(s));
    size_t size = nodes(statement.body);
    for (const Expr* load : ir::loads_of(statement.body)) {
      auto found = inlined.find(load->name);
      if (found != inlined.end()) size += found->second;
    }
    const bool map = statement.kind == Statement::Kind::kMap && is_float(statement.type);
    // What a recurrence makes is read before its line comes.
    const bool kept = ir::recurrence_of(loops, static_cast<int>(s)) != nullptr;
    if (!map || statement.is_output || size > kLargestBody || kept) continue;
    group.inlined.push_back(static_cast<int>(s));
    inlined[statement.name] = size;
  }
  return inline_group(program, group);
}

bool is_position(const Statement& statement) {
  return statement.kind == Statement::Kind::kReduce &&
         (statement.monoid == ir::Monoid::kArgMax || statement.monoid == ir::Monoid::kArgMin);
}

double count_of(const std::vector<ir::Axis>& axes, const ir::Sizes& sizes) {
  double count = 1;
  for (const ir::Axis& axis : axes) count *= static_cast<double>(ir::evaluate(axis.extent, sizes));
  return count;
}

/// Whether some load has unit stride along the axis.
bool unit_stride(const Statement& statement, const std::string& axis) {
  const std::vector<const Expr*> loads = ir::loads_of(statement.body);
  return std::any_of(loads.begin(), loads.end(), [&](const Expr* load) {
    return !load->indices.empty() && coefficient(load->indices.back(), axis) == ir::int_constant(1);
  });
}

/// Threads that share the terms of one element.
int threads_of_element(const Statement& statement, const ir::Sizes& sizes) {
  if (statement.kind != Statement::Kind::kReduce) return 1;
  const double elements = count_of(statement.axes, sizes);
  const double terms = count_of(statement.reduce_axes, sizes);
  const bool along = !statement.axes.empty() && unit_stride(statement, statement.axes.back().name);
  if (terms < 64 || (along && elements >= 131072)) return 1;
  return elements < 8192 && terms >= 4096 ? kThreads : 32;
}

/// Prints the kernels of one oracle.
class OraclePrinter {
 public:
  OraclePrinter(const Program& program, const ir::Sizes& sizes, OracleScalar scalar,
                Contract contract)
      : program_(program),
        sizes_(sizes),
        contract_(contract),
        scalar_(scalar == OracleScalar::kBound ? "RunningError" : "Exact"),
        statements_(without_maps(program)) {}

  DeviceOracle print() {
    const std::vector<ir::Recurrence> loops = ir::recurrences(program_);
    for (const Statement& statement : statements_) {
      const int index = program_.statement_index(statement.name);
      const ir::Recurrence* loop = ir::recurrence_of(loops, index);
      if (loop != nullptr && index == loop->first) print_recurrence(*loop);
      if (loop == nullptr && read_later(statement)) print_kernel(statement, false);
      if (statement.is_output && statement.kind != Statement::Kind::kMap) {
        print_kernel(statement, true);
      }
      if (statement.is_output) print_check(statement);
    }
    made_.code = text_.text();
    return std::move(made_);
  }

 private:
  bool read_later(const Statement& statement) const {
    return std::any_of(statements_.begin(), statements_.end(), [&](const Statement& reader) {
      const std::vector<std::string> read = ir::tensors_of(reader.body);
      return std::find(read.begin(), read.end(), statement.name) != read.end();
    });
  }

  /// The element type of a tensor in the oracle's memory.
  std::string stored_type(const std::string& tensor) const {
    const DType type = program_.type_of(tensor);
    if (program_.find_input(tensor) != nullptr || !is_float(type))
      return std::string(dtype_c_name(type));
    return scalar_;
  }

  /// What is kept of a statement for its readers, and of an output for its comparison.
  static std::string kept_name(const std::string& statement) { return "q_kept_" + statement; }
  static std::string answer_name(const std::string& output) { return "q_answer_" + output; }
  std::string argument(const std::string& tensor) const {
    return program_.find_statement(tensor) != nullptr ? kept_name(tensor) : tensor;
  }

  std::vector<std::string> arguments(const Statement& statement) const {
    std::vector<std::string> args;
    for (const std::string& name : ir::tensors_of(statement.body)) args.push_back(argument(name));
    return args;
  }
  std::vector<std::string> parameters(const Statement& statement) const {
    std::vector<std::string> params;
    for (const std::string& name : ir::tensors_of(statement.body)) {
      params.push_back(fmt::format("const {}* {}", stored_type(name), tensor_name(name)));
    }
    return params;
  }
  std::string launch(const std::string& kernel, const std::string& blocks,
                     std::vector<std::string> args) const {
    for (const std::string& size : program_.free_sizes()) args.push_back("i64(" + size + ")");
    return fmt::format("// quern: launch {} grid ({}) block ({}) args ({})\n", kernel, blocks,
                       kThreads, fmt::join(args, ", "));
  }

  void plan_lines(const Statement& statement, const std::string& kernel, bool result, int width) {
    const IntExpr elements = element_product(program_, grid(statement));
    const std::string kept = result ? answer_name(statement.name) : kept_name(statement.name);
    made_.kept.push_back({kept, element_product(program_, statement.axes)});
    std::vector<std::string> args = arguments(statement);
    args.push_back(kept);
    made_.prepare +=
        launch(kernel, ir::print(ceil_div(elements, ir::int_constant(kThreads / width))), args);
  }

  std::vector<ir::Axis> grid(const Statement& statement) const {
    std::vector<ir::Axis> axes = statement.axes;
    if (statement.kind == Statement::Kind::kScan) axes.erase(axes.begin() + statement.scan_axis);
    return axes;
  }

  void signature(const std::string& kernel, std::vector<std::string> params) {
    for (const std::string& size : program_.free_sizes()) {
      params.push_back("long " + size_name(size));
    }
    text_.add(fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{", kThreads,
                          kernel, fmt::join(params, ", ")));
    text_.add(fmt::format("typedef {} T;", scalar_));
    for (const ir::SizeDecl& size : program_.sizes) {
      if (!size.let) continue;
      text_.add(fmt::format("const long {0} = {1}; (void){0};", size_name(size.name),
                            reference_index(program_, *size.let)));
    }
  }

  void decode(const std::vector<ir::Axis>& axes, std::string rest = "q_e") {
    for (size_t d = axes.size(); d-- > 0;) {
      const std::string name = axis_name(axes[d].name);
      const std::string extent = reference_index(program_, axes[d].extent);
      if (d == 0) {
        text_.add(fmt::format("const long {} = {};", name, rest));
      } else {
        text_.add(fmt::format("const long {} = {} % {};", name, rest, extent));
        rest = fmt::format("({} / {})", rest, extent);
      }
    }
  }

  void print_kernel(const Statement& statement, bool result) {
    const int width = threads_of_element(statement, sizes_);
    const std::string kernel =
        fmt::format("oracle_{}_{}", result ? "result" : "keep", statement.name);
    plan_lines(statement, kernel, result, width);
    std::vector<std::string> params = parameters(statement);
    params.push_back(result ? "Answer* q_answer"
                            : fmt::format("{}* q_kept", stored_type(statement.name)));
    signature(kernel, std::move(params));
    text_.add(fmt::format("const long q_t = (long)blockIdx.x * {} + threadIdx.x;", kThreads));
    text_.add(fmt::format("const long q_e = q_t / {0}, q_lane = q_t % {0}; (void)q_lane;", width));
    const IntExpr elements = element_product(program_, grid(statement));
    // Threads past the end stay for the merge, with no terms.
    text_.add(fmt::format("const bool q_alive = q_e < {};", reference_index(program_, elements)));
    if (width == 1) text_.add("if (!q_alive) return;");
    decode(grid(statement));
    switch (statement.kind) {
      case Statement::Kind::kMap:
        store(statement, result, reference_value(program_, statement.body, true), "");
        break;
      case Statement::Kind::kReduce:
        print_reduce(statement, result, width);
        break;
      case Statement::Kind::kScan:
        print_scan(statement, result);
        break;
    }
    text_.add("}");
    text_.add("");
  }

  /// A statement as it is here, with maps inlined.
  const Statement& with_maps(int index) const {
    const std::string& name = program_.statements[static_cast<size_t>(index)].name;
    return *std::find_if(statements_.begin(), statements_.end(),
                         [&](const Statement& each) { return each.name == name; });
  }

  /// One launch that keeps what the statements of a recurrence make, with blocks as
  /// `recurrence_kernel` has them.
  void print_recurrence(const ir::Recurrence& recurrence) {
    std::vector<std::string> args, params, inputs;
    for (int s = recurrence.first; s <= recurrence.last; ++s) {
      for (const std::string& name : ir::tensors_of(with_maps(s).body)) {
        const bool known = std::find(inputs.begin(), inputs.end(), name) != inputs.end();
        if (!known && !recurrence.holds(program_.statement_index(name))) inputs.push_back(name);
      }
    }
    for (const std::string& name : inputs) {
      args.push_back(argument(name));
      params.push_back(fmt::format("const {}* {}", stored_type(name), tensor_name(name)));
    }
    for (int s = recurrence.first; s <= recurrence.last; ++s) {
      const Statement& statement = with_maps(s);
      const std::string kept = kept_name(statement.name);
      made_.kept.push_back({kept, element_product(program_, statement.axes)});
      args.push_back(kept);
      params.push_back(
          fmt::format("{}* {}", stored_type(statement.name), tensor_name(statement.name)));
    }
    const std::vector<ir::Axis> blocks = independent_axes(program_, recurrence);
    const std::string kernel = "oracle_keep_" + with_maps(recurrence.last).name;
    made_.prepare += launch(kernel, ir::print(element_product(program_, blocks)), args);
    signature(kernel, std::move(params));
    text_.add("const long q_b = blockIdx.x; (void)q_b;");
    decode(blocks, "q_b");
    const ir::Axis& along =
        with_maps(recurrence.first).axes[static_cast<size_t>(recurrence.positions[0])];
    open_scan(along, recurrence.backwards);
    for (int s = recurrence.first; s <= recurrence.last; ++s) {
      print_step(with_maps(s), block_points(recurrence, with_maps(s), blocks));
    }
    text_.add("}");
    text_.add("}");
    text_.add("");
  }

  /// One statement at one step: the block's threads share its points.
  void print_step(const Statement& statement, const std::vector<ir::Axis>& points) {
    text_.add(fmt::format("for (long q_e = threadIdx.x; q_e < {}; q_e += {}) {{",
                          reference_index(program_, element_product(program_, points)), kThreads));
    decode(points);
    std::string value = reference_value(program_, statement.body, true);
    if (statement.kind == Statement::Kind::kReduce) {
      text_.add(reference_accumulator(statement) + " acc;");
      for (const ir::Axis& axis : statement.reduce_axes) open_scan(axis, false);
      text_.add(fmt::format("acc.add({});", value));
      for (size_t a = 0; a < statement.reduce_axes.size(); ++a) text_.add("}");
      value = "acc.result()";
    }
    text_.add(fmt::format("{}[{}] = (T)({});", tensor_name(statement.name),
                          reference_offset(program_, statement.name, axes_of(statement)), value));
    text_.add("}");
    text_.add("__syncthreads();");
  }

  void open_scan(const ir::Axis& along, bool reverse) {
    const std::string name = axis_name(along.name);
    const std::string extent = reference_index(program_, along.extent);
    text_.add(reverse ? fmt::format("for (long {0} = {1} - 1; {0} >= 0; --{0}) {{", name, extent)
                      : fmt::format("for (long {0} = 0; {0} < {1}; ++{0}) {{", name, extent));
  }

  /// Compares an output with what it must be, every element once, whatever the grid.
  void print_check(const Statement& statement) {
    const bool map = statement.kind == Statement::Kind::kMap;
    const std::string kernel = "oracle_check_" + statement.name;
    const IntExpr elements = element_product(program_, statement.axes);
    const std::string blocks = fmt::format(
        "min({}, {})", ir::print(ceil_div(elements, ir::int_constant(kThreads))), kOracleBlocks);
    const std::string found = oracle_found(statement.name);
    std::vector<std::string> args = map ? arguments(statement) : std::vector<std::string>();
    std::vector<std::string> params = map ? parameters(statement) : std::vector<std::string>();
    if (!map) {
      args.push_back(answer_name(statement.name));
      params.push_back("const Answer* q_answer");
    }
    args.insert(args.end(), {statement.name, kOraclePolicy, found});
    params.push_back(fmt::format("const {}* q_got", dtype_c_name(statement.type)));
    params.insert(params.end(), {"const double* q_policy", "Partial* q_found"});
    made_.check += launch(kernel, blocks, args);
    made_.check +=
        fmt::format("// quern: launch sum_found grid (1) block ({}) args ({}, i64({}))\n", kThreads,
                    found, blocks);
    signature(kernel, std::move(params));
    text_.add("const auto q_answer_of = [&](long q_e) -> Answer {");
    if (map) {
      print_map_answer(statement);
    } else {
      text_.add("return q_answer[q_e];");
    }
    text_.add("};");
    text_.add("Partial q_mine = nothing_found();");
    // Several elements are under way at once, or memory would be waited for one by one.
    text_.add(fmt::format("const long q_count = {}, q_step = thread_count();",
                          reference_index(program_, elements)));
    text_.add("long q_e = thread_index();");
    text_.add("for (; q_e + 3 * q_step < q_count; q_e += 4 * q_step) {");
    text_.add(fmt::format("Answer q_a[4]; {} q_g[4];", dtype_c_name(statement.type)));
    text_.add("#pragma unroll");
    text_.add("for (int k = 0; k < 4; ++k) q_g[k] = q_got[q_e + k * q_step];");
    text_.add("#pragma unroll");
    text_.add("for (int k = 0; k < 4; ++k) q_a[k] = q_answer_of(q_e + k * q_step);");
    text_.add("#pragma unroll");
    text_.add("for (int k = 0; k < 4; ++k) {");
    text_.add(
        "look(q_g + k, q_a[k].value, q_a[k].scale, q_policy[0], q_policy[1] != 0, q_e + k * "
        "q_step, "
        "q_mine);");
    text_.add("}");
    text_.add("}");
    text_.add("for (; q_e < q_count; q_e += q_step) {");
    text_.add("const Answer q_a = q_answer_of(q_e);");
    text_.add(
        "look(q_got + q_e, q_a.value, q_a.scale, q_policy[0], q_policy[1] != 0, q_e, q_mine);");
    text_.add("}");
    text_.add("gather(q_mine, q_found + 1 + blockIdx.x);");
    text_.add("}");
    text_.add("");
  }

  void print_map_answer(const Statement& statement) {
    decode(statement.axes);
    std::string value = reference_value(program_, statement.body, true);
    // Where an input is read at the output's own place, dividing out the axes would be in vain.
    const std::string own = reference_offset(program_, statement.name, axes_of(statement));
    if (statement.axes.size() > 1) value = replace_all(value, ", " + own + ")", ", q_e)");
    if (is_float(statement.type)) {
      text_.add(fmt::format("const T q_x = (T)({});", value));
      text_.add("return {to_double(q_x), scale_of(q_x)};");
    } else {
      text_.add(fmt::format("return {{(double)({})to_double({}), 0}};",
                            dtype_c_name(statement.type), value));
    }
  }

  static std::vector<IntExpr> axes_of(const Statement& statement) {
    std::vector<IntExpr> indices;
    for (const ir::Axis& axis : statement.axes) indices.push_back(ir::int_axis(axis.name));
    return indices;
  }

  void store(const Statement& statement, bool result, const std::string& value,
             const std::string& accumulator) {
    text_.add("{");
    text_.add(fmt::format("const long q_at = {};",
                          reference_offset(program_, statement.name, axes_of(statement))));
    const bool real = is_float(statement.type);
    const std::string type = real ? scalar_ : std::string(dtype_c_name(statement.type));
    text_.add(real || is_position(statement)
                  ? fmt::format("const {} q_x = ({})({});", type, type, value)
                  : fmt::format("const {} q_x = ({})to_double({});", type, type, value));
    if (!result) {
      text_.add("q_kept[q_at] = q_x;");
    } else if (real) {
      text_.add("q_answer[q_at] = {to_double(q_x), scale_of(q_x)};");
    } else {
      text_.add(fmt::format("q_answer[q_at] = {{(double)q_x, {}}};",
                            is_position(statement)
                                ? fmt::format("{}.certain() ? 0 : doubtful(T())", accumulator)
                                : "0.0"));
    }
    text_.add("}");
  }

  void print_reduce(const Statement& statement, bool result, int width) {
    // What inlined maps have made of the statement does not change what it is.
    const bool rounds = rounds_operands(program_, statement.name, contract_);
    text_.add(
        fmt::format("{} acc;", rounds ? kRoundedAccumulator : reference_accumulator(statement)));
    const IntExpr terms = element_product(program_, statement.reduce_axes);
    text_.add(fmt::format("for (long q_r = q_lane; q_alive && q_r < {}; q_r += {}) {{",
                          reference_index(program_, terms), width));
    std::string rest = "q_r";
    for (size_t d = statement.reduce_axes.size(); d-- > 0;) {
      const ir::Axis& axis = statement.reduce_axes[d];
      const std::string extent = reference_index(program_, axis.extent);
      text_.add(fmt::format("const long {} = {};", axis_name(axis.name),
                            d == 0 ? rest : fmt::format("{} % {}", rest, extent)));
      rest = fmt::format("({} / {})", rest, extent);
    }
    const std::string value = rounds ? reference_rounded_term(program_, statement.body)
                                     : reference_value(program_, statement.body, true);
    text_.add(is_position(statement)
                  ? fmt::format("acc.add({}, {});", value, axis_name(statement.reduce_axes[0].name))
                  : fmt::format("acc.add({});", value));
    text_.add("}");
    text_.add(fmt::format("merge_across(acc, {});", width));
    text_.add("if (!q_alive || q_lane != 0) return;");
    store(statement, result, "acc.result()", "acc");
  }

  void print_scan(const Statement& statement, bool result) {
    const ir::Axis& along = statement.axes[static_cast<size_t>(statement.scan_axis)];
    text_.add(reference_accumulator(statement) + " acc;");
    open_scan(along, statement.reverse);
    const std::string add =
        fmt::format("acc.add({});", reference_value(program_, statement.body, true));
    if (!statement.exclusive) text_.add(add);
    store(statement, result, "acc.result()", "acc");
    if (statement.exclusive) text_.add(add);
    text_.add("}");
  }

  const Program& program_;
  const ir::Sizes& sizes_;
  Contract contract_;
  std::string scalar_;
  std::vector<Statement> statements_;
  DeviceOracle made_;
  Lines text_;
};

/// The scalars without what a compiler without headers does not have.
std::string scalar_text() {
  std::string text;
  for (const std::string& line : split(kQuernScalarHeader, '\n')) {
    if (line.starts_with("#include") || line.starts_with("#pragma once")) continue;
    text += line + "\n";
  }
  return text;
}

}  // namespace

std::string oracle_found(const std::string& output) { return "q_found_" + output; }

DeviceOracle emit_device_oracle(const Program& program, const ir::Sizes& sizes, OracleScalar scalar,
                                Contract contract) {
  DeviceOracle oracle = OraclePrinter(program, sizes, scalar, contract).print();
  oracle.code = fmt::format(
      "// The oracle of {}: its naive lowering over scalars that carry their error.\n"
      "{}#include \"{}\"\n{}{}\n{}",
      program.name, kQuernDeviceOracleHead, kOracleCompareHeader, scalar_text(),
      kQuernDeviceOracleTail, oracle.code);
  for (std::string* plan : {&oracle.prepare, &oracle.check}) {
    if (!plan->empty()) plan->insert(0, "// quern: target = cuda\n");
  }
  return oracle;
}

}  // namespace quern
