// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "codegen/device_stage.h"
#include "codegen/group.h"

namespace quern {

using ir::Statement;

void DeviceStages::print_block_scan(const Stage& stage) {
  const Item& scanned = item(stage.members[0]);
  const Statement& statement = scanned.statement;
  const Loop& loop = stage.space[0];
  const DeviceText text(program_);
  const std::string extent = text.index(loop.extent);
  const Reducer monoid(program_, statement, "q_carry");
  const std::string type = monoid.type();
  // Backwards, elements of a vector come in the wrong order: they are moved one by one.
  const std::vector<Loop> loops = statement.reverse ? std::vector<Loop>() : stage.space;
  const std::string axis = axis_id(loop.name);
  const std::string place = statement.reverse
                                ? fmt::format("const q_int {} = {} - 1 - q_p - q_v;", axis, extent)
                                : fmt::format("const q_int {} = q_p + q_v;", axis);
  out_->add("{");
  out_->add(monoid.declare());
  out_->add(fmt::format("for (q_int q_c = 0; q_c < {}; q_c += {}) {{", extent,
                        style_.width * style_.vector));
  out_->add(fmt::format("const q_int q_p = q_c + q_lane * {};", style_.vector));
  out_->add(fmt::format("const q_int {0} = q_p; (void){0};", axis_id(kBaseAxis)));
  out_->add(fmt::format("{} q_t[{}];", type, style_.vector));
  out_->add("if (q_p < " + extent + ") {");
  const std::vector<Access> loaded = vector_loads(stage, loops, stage.members);
  open_elements();
  out_->add(place);
  out_->add(fmt::format("q_t[q_v] = {};", text_for(scanned, loops, loaded).value(statement.body)));
  out_->add("}");
  out_->add("} else {");
  open_elements();
  out_->add(fmt::format("q_t[q_v] = {};", monoid.neutral()));
  out_->add("}");
  out_->add("}");
  out_->add(fmt::format("{} q_sum = q_t[0], q_total;", type));
  for (int v = 1; v < style_.vector; ++v) {
    out_->add(fmt::format("q_sum = {};", monoid.combine("q_sum", fmt::format("q_t[{}]", v))));
  }
  const std::string before =
      fmt::format("q_scan_{}(q_sum, ({})({}), {}, (Q_LOCAL {}*)q_shared, &q_total)",
                  monoid_suffix(statement.monoid), type, monoid.neutral(), style_.width, type);
  out_->add(fmt::format("{} q_run = {};", type, monoid.combine("q_carry", before)));
  out_->add(fmt::format("q_carry = {};", monoid.combine("q_carry", "q_total")));
  out_->add("if (q_p < " + extent + ") {");
  if (vector_store(scanned, loops)) {
    out_->add(fmt::format("float q_s_{}[{}];", statement.name, style_.vector));
  }
  open_elements();
  out_->add(place);
  const std::string next = fmt::format("q_run = {};", monoid.combine("q_run", "q_t[q_v]"));
  if (!statement.exclusive) out_->add(next);
  print_value(stage, loops, scanned, "q_run");
  if (statement.exclusive) out_->add(next);
  out_->add("}");
  store_vectors(stage.members, loops);
  out_->add("}");
  out_->add("}");
  out_->add("}");
}

void DeviceStages::print_line_scan(const Stage& stage) {
  const Item& scanned = item(stage.members[0]);
  const Statement& statement = scanned.statement;
  std::vector<Loop> others = stage.space;
  const Loop along = others[static_cast<size_t>(scanned.scan)];
  others.erase(others.begin() + scanned.scan);
  const DeviceStyle style = style_;
  style_.vector = 1;
  style_.keep = 0;
  int opened = 1;
  if (others.empty()) {
    out_->add("if (q_lane == 0) {");
  } else {
    opened = open_points(others);
    out_->add(fmt::format("const int q_v = 0; const q_int {0} = {1}; (void)q_v; (void){0};",
                          axis_id(others.back().name), axis_id(kBaseAxis)));
  }
  const Reducer acc(program_, statement, "q_acc");
  out_->add(acc.declare());
  const DeviceText text(program_);
  const std::string name = axis_id(along.name), extent = text.index(along.extent);
  if (style.unroll > 1) out_->add(fmt::format("#pragma unroll {}", style.unroll));
  out_->add(statement.reverse
                ? fmt::format("for (q_int {0} = {1} - 1; {0} >= 0; --{0}) {{", name, extent)
                : fmt::format("for (q_int {0} = 0; {0} < {1}; ++{0}) {{", name, extent));
  const std::string term = text_for(scanned, {}, {}).value(statement.body);
  out_->add(fmt::format("const {} q_term = {};", acc.type(), term));
  if (!statement.exclusive) out_->add(acc.add("q_term", ""));
  print_value(stage, {}, scanned, "q_acc");
  if (statement.exclusive) out_->add(acc.add("q_term", ""));
  out_->add("}");
  close(opened);
  style_ = style;
}

}  // namespace quern
