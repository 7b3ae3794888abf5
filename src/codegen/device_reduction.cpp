// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "codegen/device_stage.h"
#include "codegen/group.h"

namespace quern {

using ir::Expr;
using ir::Statement;

namespace {

bool is_reduction(const Item& item) { return item.statement.kind == Statement::Kind::kReduce; }

}  // namespace

void DeviceStages::print_reduction(const Stage& stage) {
  const std::vector<Loop> loops = stage.reduce;
  std::map<int, Reducer> reducers;
  for (int index : stage.members) {
    const Statement& statement = item(index).statement;
    if (!is_reduction(item(index))) continue;
    Reducer whole(program_, statement, "q_acc_" + statement.name);
    const bool split = style_.vector > 1 && !whole.is_position();
    Reducer own = split ? Reducer(program_, statement, "q_part_" + statement.name, style_.vector)
                        : std::move(whole);
    out_->add_lines(own.declare());
    reducers.emplace(index, std::move(own));
  }
  const int opened = open_points(loops);
  for (int index : stage.members) {
    if (vector_store(item(index), loops)) {
      out_->add(fmt::format("float q_s_{}[{}];", item(index).statement.name, style_.vector));
    }
  }
  const std::vector<Access> loaded = vector_loads(stage, loops, stage.members);
  open_elements();
  out_->add(fmt::format("const q_int {0} = {1} + q_v; (void){0};", axis_id(loops.back().name),
                        axis_id(kBaseAxis)));
  print_members(stage, loops, stage.members, loaded, reducers);
  out_->add("}");
  store_vectors(stage.members, loops);
  close(opened);
  for (const auto& [index, reducer] : reducers) finish_reduction(item(index), reducer);
}

/// Combines what the threads of a row have, and names the result.
void DeviceStages::finish_reduction(const Item& item, const Reducer& reducer) {
  const std::string& name = item.statement.name;
  const Reducer whole(program_, item.statement, "q_acc_" + name);
  if (reducer.name() != whole.name()) out_->add_lines(reducer.gather(whole));
  if (style_.width > 1) out_->add_lines(whole.across(std::to_string(style_.width), "q_shared"));
  name_scalar(item, whole.result());
}

void DeviceStages::name_scalar(const Item& item, const std::string& value) {
  const std::string& name = item.statement.name;
  const std::string type(dtype_c_name(item.statement.type));
  out_->add(fmt::format("const {0} q_x_{1} = ({0})({2}); (void)q_x_{1};", type, name, value));
  scalars_.insert(name);
  if (!stored_.contains(name)) return;
  out_->add("if (q_alive && q_lane == 0) {");
  store(item, "q_x_" + name);
  out_->add("}");
}

bool DeviceStages::online_pair(size_t stage) const {
  if (!style_.online || style_.width == 0 || stage + 1 >= stages_.size()) return false;
  const Stage &first = stages_[stage], &second = stages_[stage + 1];
  if (first.members.size() != 1 || second.members.size() != 1 || !first.space.empty() ||
      first.reduce != second.reduce) {
    return false;
  }
  const Item &m = item(first.members[0]), &s = item(second.members[0]);
  const Expr less =
      ir::apply(ir::Op::kSub, {m.statement.body, ir::load(m.statement.name, m.store)});
  return is_reduction(m) && is_reduction(s) && m.statement.monoid == ir::Monoid::kMax &&
         s.statement.monoid == ir::Monoid::kSum &&
         s.statement.body == ir::apply(ir::Op::kExp, {less});
}

/// The sum is rescaled whenever the maximum grows, once a vector.
void DeviceStages::print_online(const Item& largest, const Item& total, const Stage& stage) {
  const std::vector<Loop> loops = stage.reduce;
  out_->add("float q_most = -Q_INFINITY, q_sum = 0.0f;");
  const int opened = open_points(loops);
  const std::vector<Access> loaded = vector_loads(stage, loops, stage.members);
  out_->add(fmt::format("float q_e[{}], q_new = q_most;", style_.vector));
  open_elements();
  out_->add(fmt::format("const q_int {0} = {1} + q_v; (void){0};", axis_id(loops.back().name),
                        axis_id(kBaseAxis)));
  out_->add(fmt::format("q_e[q_v] = {};",
                        text_for(largest, loops, loaded).value(largest.statement.body)));
  out_->add("q_new = q_max(q_new, q_e[q_v]);");
  out_->add("}");
  out_->add("if (q_new > q_most) {");
  out_->add("q_sum *= q_exp(q_most - q_new);");
  out_->add("q_most = q_new;");
  out_->add("}");
  open_elements();
  out_->add("q_sum += q_exp(q_e[q_v] - q_most);");
  out_->add("}");
  close(opened);
  std::string most = "q_most", sum = "q_sum";
  if (style_.width > 1) {
    out_->add(fmt::format("const float q_top = q_reduce_max(q_most, {}, (Q_LOCAL float*)q_shared);",
                          style_.width));
    out_->add(
        fmt::format("const float q_all = q_reduce_sum(q_sum * q_exp(q_most - q_top), {}, "
                    "(Q_LOCAL float*)q_shared);",
                    style_.width));
    most = "q_top";
    sum = "q_all";
  }
  name_scalar(largest, most);
  name_scalar(total, sum);
}

}  // namespace quern
