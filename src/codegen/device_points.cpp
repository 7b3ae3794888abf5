// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "codegen/device_stage.h"
#include "codegen/group.h"

namespace quern {
namespace {

bool is_reduction(const Item& item) { return item.statement.kind == ir::Statement::Kind::kReduce; }

}  // namespace

void DeviceStages::print_points(const Stage& stage) {
  const std::vector<Loop> loops = point_loops(items_, stage);
  const std::string last = axis_id(loops.back().name);
  const int opened = open_points(loops);
  std::map<int, Reducer> reducers;
  for (int index : stage.members) {
    const Item& member = item(index);
    if (vector_store(member, loops)) {
      out_->add(fmt::format("float q_s_{}[{}];", member.statement.name, style_.vector));
    }
    if (!is_reduction(member)) continue;
    reducers.emplace(index, Reducer(program_, member.statement, "q_acc_" + member.statement.name,
                                    style_.vector));
    out_->add_lines(reducers.at(index).declare());
  }
  for (int index : stage.tails) {
    if (!vector_store(item(index), loops)) continue;
    out_->add(fmt::format("float q_s_{}[{}];", item(index).statement.name, style_.vector));
  }
  const std::vector<Loop> inner = reducers.empty() ? std::vector<Loop>() : stage.reduce;
  const DeviceText text(program_);
  const int slices = style_.width == 0 && !reducers.empty() ? style_.slices : 1;
  for (const Loop& loop : inner) {
    if (&loop == &inner.back() && style_.unroll > 1) {
      out_->add(fmt::format("#pragma unroll {}", style_.unroll));
    }
    const int share = &loop == &inner.front() ? slices : 1;
    out_->add(fmt::format("for (q_int {0} = {1}; {0} < {2}; {0} += {3}) {{", axis_id(loop.name),
                          share > 1 ? fmt::format("q_thread() / {}", style_.columns()) : "0",
                          text.index(extent_of(loop)), share));
  }
  const std::set<std::string> outside = here_;
  std::vector<Access> loaded = vector_loads(stage, loops, stage.members);
  open_elements();
  out_->add(fmt::format("const q_int {0} = {1} + q_v; (void){0};", last, axis_id(kBaseAxis)));
  print_members(stage, loops, stage.members, loaded, reducers);
  out_->add("}");
  close(static_cast<int>(inner.size()));
  if (slices > 1) {
    for (const auto& [index, reducer] : reducers) {
      out_->add_lines(reducer.apart(style_.columns(), slices, "q_shared"));
    }
    out_->add("if (q_owner) {");
  }
  if (!reducers.empty()) {
    here_ = outside;
    loaded = vector_loads(stage, loops, stage.tails);
    open_elements();
    out_->add(fmt::format("const q_int {0} = {1} + q_v; (void){0};", last, axis_id(kBaseAxis)));
    for (const auto& [index, reducer] : reducers) {
      print_value(stage, loops, item(index), reducer.result());
    }
    print_members(stage, loops, stage.tails, loaded, {});
    out_->add("}");
  }
  store_vectors(stage.members, loops);
  store_vectors(stage.tails, loops);
  if (slices > 1) out_->add("}");
  close(opened);
}

}  // namespace quern
