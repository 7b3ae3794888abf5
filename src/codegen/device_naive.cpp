// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_naive.h"

#include <fmt/format.h>

#include "codegen/device_recurrence.h"
#include "codegen/device_reduce.h"
#include "codegen/group.h"
#include "codegen/lines.h"

namespace quern {
namespace {

using ir::IntExpr;
using ir::Program;
using ir::Statement;

constexpr int kThreads = 256;

/// The body of one statement's kernel.
class NaiveKernel {
 public:
  NaiveKernel(const Program& program, const Statement& statement)
      : program_(program),
        statement_(statement),
        text_(program, computed_wide(program, statement)),
        grid_(statement.axes) {
    if (statement.kind == Statement::Kind::kScan) {
      grid_.erase(grid_.begin() + statement.scan_axis);
    }
  }

  DeviceKernel make(int number) {
    DeviceKernel kernel;
    kernel.name = fmt::format("k{}_{}", number, statement_.name);
    kernel.threads = kThreads;
    kernel.blocks = ceil_div(element_product(program_, grid_), ir::int_constant(kThreads));
    kernel.reads = ir::tensors_of(statement_.body);
    kernel.writes = {statement_.name};
    print();
    kernel.body = out_.text();
    return kernel;
  }

 private:
  void print() {
    out_.add("const q_int q_e = (q_int)(q_block() * q_threads() + q_thread());");
    out_.add(fmt::format("if (q_e >= {}) return;", text_.index(element_product(program_, grid_))));
    out_.add_lines(decode_position(text_, "q_e", grid_));
    switch (statement_.kind) {
      case Statement::Kind::kMap:
        return store(text_.value(statement_.body));
      case Statement::Kind::kReduce:
        return print_reduce();
      case Statement::Kind::kScan:
        return print_scan();
    }
  }

  void store(const std::string& value) {
    std::vector<IntExpr> indices;
    for (const ir::Axis& axis : statement_.axes) indices.push_back(ir::int_axis(axis.name));
    out_.add(fmt::format("{}[{}] = ({})({});", tensor_id(statement_.name),
                         text_.offset(statement_.name, indices), dtype_c_name(statement_.type),
                         value));
  }

  void print_reduce() {
    const Reducer acc(program_, statement_, "q_acc");
    out_.add(acc.declare());
    for (const ir::Axis& axis : statement_.reduce_axes) open_loop(axis);
    out_.add_lines(
        acc.add(text_.value(statement_.body), axis_id(statement_.reduce_axes.front().name)));
    for (size_t a = 0; a < statement_.reduce_axes.size(); ++a) out_.add("}");
    store(acc.result());
  }

  void print_scan() {
    const ir::Axis& along = statement_.axes[static_cast<size_t>(statement_.scan_axis)];
    const Reducer acc(program_, statement_, "q_acc");
    out_.add(acc.declare());
    const std::string name = axis_id(along.name), extent = text_.index(along.extent);
    if (statement_.reverse) {
      out_.add(fmt::format("for (q_int {0} = {1} - 1; {0} >= 0; --{0}) {{", name, extent));
    } else {
      out_.add(fmt::format("for (q_int {0} = 0; {0} < {1}; ++{0}) {{", name, extent));
    }
    if (statement_.exclusive) store(acc.result());
    out_.add_lines(acc.add(text_.value(statement_.body), ""));
    if (!statement_.exclusive) store(acc.result());
    out_.add("}");
  }

  void open_loop(const ir::Axis& axis) {
    out_.add(fmt::format("for (q_int {0} = 0; {0} < {1}; ++{0}) {{", axis_id(axis.name),
                         text_.index(axis.extent)));
  }

  const Program& program_;
  const Statement& statement_;
  DeviceText text_;
  std::vector<ir::Axis> grid_;
  Lines out_;
};

}  // namespace

DeviceProgram naive_device_program(const Program& program) {
  DeviceProgram made;
  made.remarks = {fmt::format(
      "The naive lowering of {}: a launch for each statement, a thread for each element.",
      program.name)};
  const std::vector<ir::Recurrence> loops = ir::recurrences(program);
  for (int s = 0; s < static_cast<int>(program.statements.size()); ++s) {
    const Statement& statement = program.statements[static_cast<size_t>(s)];
    const int number = static_cast<int>(made.kernels.size());
    const ir::Recurrence* loop = ir::recurrence_of(loops, s);
    if (loop == nullptr) {
      made.kernels.push_back(NaiveKernel(program, statement).make(number));
    } else if (s == loop->first) {
      made.kernels.push_back(recurrence_kernel(program, *loop, number));
    }
    if (!statement.is_output) made.scratch.push_back(scratch_of(program, statement));
  }
  return made;
}

std::string emit_device_naive(const Program& program, DeviceLanguage language) {
  return device_source(program, language, naive_device_program(program));
}

}  // namespace quern
