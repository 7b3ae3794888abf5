// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_recurrence.h"

#include <fmt/format.h>

#include <algorithm>

#include "codegen/device_reduce.h"
#include "codegen/group.h"
#include "codegen/lines.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Axis;
using ir::IntExpr;
using ir::Program;
using ir::Recurrence;
using ir::Statement;

constexpr int kThreads = 512;
constexpr int kWidth = 32;  ///< threads that share the terms of a sum

int place_of(const Statement& statement, const std::string& axis) {
  for (size_t d = 0; d < statement.axes.size(); ++d) {
    if (statement.axes[d].name == axis) return static_cast<int>(d);
  }
  return -1;
}

const Statement& member(const Program& program, int index) {
  return program.statements[static_cast<size_t>(index)];
}

bool carried_through(const Program& program, const Recurrence& recurrence, const Axis& axis) {
  for (int s = recurrence.first; s <= recurrence.last; ++s) {
    const Statement& statement = member(program, s);
    const int own = place_of(statement, axis.name);
    if (own < 0 || statement.axes[static_cast<size_t>(own)].extent != axis.extent) return false;
    for (const ir::Expr* load : ir::loads_of(statement.body)) {
      const int made = program.statement_index(load->name);
      if (!recurrence.holds(made)) continue;
      const int place = place_of(member(program, made), axis.name);
      if (place < 0 || load->indices[static_cast<size_t>(place)] != ir::int_axis(axis.name)) {
        return false;
      }
    }
  }
  return true;
}

/// Whether the terms of a reduction are many and lie side by side, where neighbouring results do
/// not.
bool shares_terms(const Statement& statement, const ir::Sizes& sizes) {
  if (statement.kind != Statement::Kind::kReduce || statement.axes.empty()) return false;
  double terms = 1;
  for (const Axis& axis : statement.reduce_axes) {
    terms *= static_cast<double>(ir::evaluate(axis.extent, sizes));
  }
  const auto beside = [&](const std::string& axis) {
    const std::vector<const ir::Expr*> loads = ir::loads_of(statement.body);
    return std::any_of(loads.begin(), loads.end(), [&](const ir::Expr* load) {
      return !load->indices.empty() &&
             coefficient(load->indices.back(), axis) == ir::int_constant(1);
    });
  };
  return terms >= 2 * kWidth && beside(statement.reduce_axes.back().name) &&
         !beside(statement.axes.back().name);
}

/// Prints the body of the one kernel.
class RecurrenceKernel {
 public:
  RecurrenceKernel(const Program& program, const Recurrence& recurrence, const ir::Sizes* sizes)
      : program_(program),
        recurrence_(recurrence),
        sizes_(sizes),
        blocks_(independent_axes(program, recurrence)),
        text_(program) {}

  std::string print() {
    for (int s = recurrence_.first; s <= recurrence_.last && sizes_ != nullptr; ++s) {
      if (!shares_terms(member(program_, s), *sizes_)) continue;
      out_.add(fmt::format("Q_SHARED long q_shared[{}];", kThreads));
      break;
    }
    if (!blocks_.empty()) {
      out_.add("const q_int q_b = (q_int)q_block();");
      decode("q_b", blocks_);
    }
    const Axis& along =
        member(program_, recurrence_.first).axes[static_cast<size_t>(recurrence_.positions[0])];
    const std::string name = axis_id(along.name), extent = text_.index(along.extent);
    out_.add(recurrence_.backwards
                 ? fmt::format("for (q_int {0} = {1} - 1; {0} >= 0; --{0}) {{", name, extent)
                 : fmt::format("for (q_int {0} = 0; {0} < {1}; ++{0}) {{", name, extent));
    for (int s = recurrence_.first; s <= recurrence_.last; ++s) {
      print_member(member(program_, s));
      out_.add("q_barrier();");
    }
    out_.add("}");
    return out_.text();
  }

 private:
  void decode(const std::string& position, const std::vector<Axis>& axes) {
    out_.add_lines(decode_position(text_, position, axes));
    for (const Axis& axis : axes) out_.add(fmt::format("(void){};", axis_id(axis.name)));
  }

  /// Each point has some neighbouring threads, which take its terms in turn.
  void print_shared(const Statement& statement) {
    const std::vector<Axis> points = block_points(recurrence_, statement, blocks_);
    const std::string count = text_.index(element_product(program_, points));
    out_.add(fmt::format("for (q_int q_first = 0; q_first < {}; q_first += {}) {{", count,
                         kThreads / kWidth));
    out_.add(fmt::format("const q_int q_own = q_first + (q_int)q_thread() / {};", kWidth));
    // Threads past the end repeat the first point: all take part in what combines them.
    out_.add(fmt::format("const q_int q_e = q_own < {} ? q_own : 0;", count));
    decode("q_e", points);
    const DeviceText text(program_, computed_wide(program_, statement));
    const Reducer acc(program_, statement, "q_acc");
    out_.add_lines(acc.declare());
    out_.add(fmt::format("for (q_int q_r = (q_int)q_thread() % {0}; q_r < {1}; q_r += {0}) {{",
                         kWidth, text_.index(element_product(program_, statement.reduce_axes))));
    decode("q_r", statement.reduce_axes);
    out_.add_lines(acc.add(text.value(statement.body), ""));
    out_.add("}");
    out_.add_lines(acc.across(std::to_string(kWidth), "q_shared"));
    out_.add(fmt::format("if (q_own < {} && q_thread() % {} == 0) {{", count, kWidth));
    store(statement, acc.result());
    out_.add("}");
    out_.add("}");
  }

  void store(const Statement& statement, const std::string& value) {
    std::vector<IntExpr> indices;
    for (const Axis& axis : statement.axes) indices.push_back(ir::int_axis(axis.name));
    out_.add(fmt::format("{}[{}] = ({})({});", tensor_id(statement.name),
                         text_.offset(statement.name, indices), dtype_c_name(statement.type),
                         value));
  }

  void print_member(const Statement& statement) {
    if (sizes_ != nullptr && shares_terms(statement, *sizes_)) return print_shared(statement);
    const std::vector<Axis> points = block_points(recurrence_, statement, blocks_);
    out_.add(fmt::format("for (q_int q_e = (q_int)q_thread(); q_e < {}; q_e += {}) {{",
                         text_.index(element_product(program_, points)), kThreads));
    decode("q_e", points);
    const DeviceText text(program_, computed_wide(program_, statement));
    std::string value;
    if (statement.kind == Statement::Kind::kMap) {
      value = text.value(statement.body);
    } else {
      const Reducer acc(program_, statement, "q_acc");
      out_.add(acc.declare());
      for (const Axis& axis : statement.reduce_axes) {
        out_.add(fmt::format("for (q_int {0} = 0; {0} < {1}; ++{0}) {{", axis_id(axis.name),
                             text_.index(axis.extent)));
      }
      out_.add_lines(acc.add(text.value(statement.body), ""));
      for (size_t a = 0; a < statement.reduce_axes.size(); ++a) out_.add("}");
      value = acc.result();
    }
    store(statement, value);
    out_.add("}");
  }

  const Program& program_;
  const Recurrence& recurrence_;
  const ir::Sizes* sizes_;
  std::vector<Axis> blocks_;
  DeviceText text_;
  Lines out_;
};

}  // namespace

std::vector<Axis> independent_axes(const Program& program, const Recurrence& recurrence) {
  std::vector<Axis> found;
  for (const Axis& axis : member(program, recurrence.first).axes) {
    if (axis.name != recurrence.axis && carried_through(program, recurrence, axis)) {
      found.push_back(axis);
    }
  }
  return found;
}

std::vector<std::string> recurrence_inputs(const Program& program, const Recurrence& recurrence) {
  std::vector<std::string> names;
  for (int s = recurrence.first; s <= recurrence.last; ++s) {
    for (const std::string& name : ir::tensors_of(member(program, s).body)) {
      const bool known = std::find(names.begin(), names.end(), name) != names.end();
      if (!known && !recurrence.holds(program.statement_index(name))) names.push_back(name);
    }
  }
  return names;
}

std::vector<Axis> block_points(const Recurrence& recurrence, const Statement& statement,
                               const std::vector<Axis>& blocks) {
  std::vector<Axis> points;
  for (const Axis& axis : statement.axes) {
    const bool apart = std::any_of(blocks.begin(), blocks.end(),
                                   [&](const Axis& block) { return block.name == axis.name; });
    if (!apart && axis.name != recurrence.axis) points.push_back(axis);
  }
  return points;
}

DeviceKernel recurrence_kernel(const Program& program, const Recurrence& recurrence, int number,
                               const ir::Sizes* sizes) {
  DeviceKernel kernel;
  kernel.name = fmt::format("k{}_{}", number, member(program, recurrence.last).name);
  kernel.threads = kThreads;
  kernel.blocks = element_product(program, independent_axes(program, recurrence));
  kernel.reads = recurrence_inputs(program, recurrence);
  for (int s = recurrence.first; s <= recurrence.last; ++s) {
    kernel.writes.push_back(member(program, s).name);
  }
  kernel.body = RecurrenceKernel(program, recurrence, sizes).print();
  return kernel;
}

}  // namespace quern
