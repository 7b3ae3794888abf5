// SPDX-License-Identifier: Apache-2.0
#include "schedule/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "ir/recurrence.h"
#include "schedule/actions.h"
#include "schedule/precision.h"
#include "schedule/regroup.h"
#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Program;
using ir::Statement;

/// Position of a named axis among spatial then reduced axes, or -1.
int axis_position(const Statement& statement, const std::string& name) {
  for (size_t a = 0; a < statement.axes.size(); ++a) {
    if (statement.axes[a].name == name) return static_cast<int>(a);
  }
  for (size_t a = 0; a < statement.reduce_axes.size(); ++a) {
    if (statement.reduce_axes[a].name == name) {
      return static_cast<int>(statement.axes.size() + a);
    }
  }
  return -1;
}

Reason set_axis(ScheduleState* state, int target, const std::string& axis) {
  const Statement& statement = state->statement(target);
  const int position = axis_position(statement, axis);
  if (position < 0) return fmt::format("`{}` has no axis `{}`", statement.name, axis);
  if (statement.kind == Statement::Kind::kScan && position != statement.scan_axis &&
      position + 1 != static_cast<int>(statement.axes.size())) {
    return "a scan runs in lanes along its own or its last axis";
  }
  Group& group = owner_group(*state, target);
  Group changed = group;
  changed.params["axis." + statement.name] = position;
  if (Reason reason = check_fused(*state, changed); !reason.empty()) return reason;
  group = std::move(changed);
  return "";
}

/// A sum over a product of two factors that are not both made of one load.
bool product_sum(const Statement& statement) {
  if (statement.kind != Statement::Kind::kReduce || statement.monoid != ir::Monoid::kSum) {
    return false;
  }
  const ir::Expr* body = &statement.body;
  while (body->kind == ir::Expr::Kind::kOp && body->op == ir::Op::kSelect) body = &body->args[1];
  return body->kind == ir::Expr::Kind::kOp && body->op == ir::Op::kMul &&
         ir::loads_of(*body).size() >= 2 && !statement.axes.empty();
}

Reason tensorize(ScheduleState* state, int target) {
  Group& group = owner_group(*state, target);
  if (!product_sum(state->statement(target))) {
    return "it is no sum over a product of two operands; vectorize it instead";
  }
  for (int index : group.statements) {
    const bool earlier = index < target && !contains(group.inlined, index);
    if (earlier || state->statement(index).kind != Statement::Kind::kMap) {
      if (index != target) return "its group has other statements than pointwise consumers";
    }
  }
  group.skeleton = Skeleton::kContraction;
  group.root = target;
  group.params["tensorize"] = 1;
  return "";
}

/// Actions that only set parameters of the target's group: each argument under its own name.
Reason set_params(ScheduleState* state, int target, const ActionInfo& action, const Step& step) {
  Group& group = owner_group(*state, target);
  for (const ActionParam& param : action.params) {
    if (param.kind == "integer" && step.find(std::string(param.name)) != nullptr) {
      group.params[std::string(param.name)] = integer(step, param.name, 0);
    }
  }
  return "";
}

Reason require_contraction(ScheduleState* state, int target, const ActionInfo& action,
                           const Step& step) {
  if (owner_group(*state, target).skeleton != Skeleton::kContraction) {
    return "its group is not tensorized; do that first";
  }
  if (action.name == "unroll_and_jam" && state->target == ScheduleTarget::kCpu) {
    const int64_t mr = integer(step, "mr", 1);
    const int64_t nr = integer(step, "nr", 1);
    if (mr * nr + nr + 1 > 32) return "the block does not fit 32 vector registers";
  }
  Reason reason = set_params(state, target, action, step);
  if (reason.empty()) owner_group(*state, target).params.emplace(std::string(action.name), 1);
  return reason;
}

Reason rfactor(ScheduleState* state, int target, const Step& step) {
  Group& group = owner_group(*state, target);
  const Statement& statement = state->statement(target);
  if (group.skeleton != Skeleton::kNest) return "a contraction is shared with split_k";
  if (statement.kind != Statement::Kind::kReduce) return "it is no reduction";
  if (statement.monoid == ir::Monoid::kArgMax || statement.monoid == ir::Monoid::kArgMin) {
    return "positions of an arg-form are not combined in parts";
  }
  const std::vector<Statement> statements = inline_group(state->program, group);
  if (statements[0].name != statement.name || !pointwise_chain(statements)) {
    return "its group does more than this reduction and pointwise consumers";
  }
  group.params["rfactor"] = 1;
  group.params["parts"] = integer(step, "parts", 0);
  return "";
}

Reason non_temporal(ScheduleState* state, int target) {
  Group& group = owner_group(*state, target);
  const Statement& statement = state->statement(target);
  if (statement.type != DType::kF32) return "only f32 stores go past the caches";
  if (statement.axes.empty()) return "a single value needs no streaming";
  for (const Statement& other : inline_group(state->program, group)) {
    for (const std::string& name : ir::tensors_of(other.body)) {
      if (name == statement.name && group.skeleton == Skeleton::kNest) {
        return "its own group reads it again";
      }
    }
  }
  group.params["nt." + statement.name] = 1;
  group.params["nt"] = 1;
  return "";
}

bool same_axes(const std::vector<ir::Axis>& a, const std::vector<ir::Axis>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const ir::Axis& x, const ir::Axis& y) { return x.extent == y.extent; });
}

Reason merge_reductions(ScheduleState* state, int target, int with) {
  const Statement& a = state->statement(target);
  const Statement& b = state->statement(with);
  if (a.kind != Statement::Kind::kReduce || b.kind != Statement::Kind::kReduce) {
    return "both must be reductions";
  }
  if (!same_axes(a.axes, b.axes) || !same_axes(a.reduce_axes, b.reduce_axes)) {
    return "their axes differ";
  }
  return merge_groups(state, target, with);
}

Reason fuse_prologue(ScheduleState* state, int target, int into) {
  const std::string& name = state->statement(target).name;
  for (const Statement& reader : state->program.statements) {
    for (const std::string& read : ir::tensors_of(reader.body)) {
      if (read == name && reader.name != state->statement(into).name) {
        return fmt::format("`{}` reads it too", reader.name);
      }
    }
  }
  return inline_statement(state, target);
}

Reason pointwise_epilogue(ScheduleState* state, int target, int into) {
  if (state->statement(target).kind != Statement::Kind::kMap) return "it is no pointwise map";
  return merge_groups(state, into, target);
}

bool has_approximate_form(const ir::Expr& expr) {
  const bool here =
      expr.kind == ir::Expr::Kind::kOp && (expr.op == ir::Op::kExp || expr.op == ir::Op::kDiv);
  return here || std::any_of(expr.args.begin(), expr.args.end(), has_approximate_form);
}

Reason approximate_math(ScheduleState* state, int target) {
  Group& group = owner_group(*state, target);
  if (group.skeleton != Skeleton::kNest) return "a contraction has no special functions of its own";
  const std::vector<Statement> statements = inline_group(state->program, group);
  const bool found = std::any_of(statements.begin(), statements.end(),
                                 [](const Statement& s) { return has_approximate_form(s.body); });
  if (!found) return "its group has no exponential and no division";
  group.params["approximate"] = 1;
  return "";
}

Reason vectorize(ScheduleState* state, int target, const ActionInfo& action, const Step& step) {
  if (const std::string* axis = step.find("axis")) {
    if (Reason reason = set_axis(state, target, *axis); !reason.empty()) return reason;
  } else {
    const Group& group = owner_group(*state, target);
    for (const Statement& statement : inline_group(state->program, group)) {
      const std::string best = best_lanes(statement, state->sizes);
      if (best.empty()) continue;
      set_axis(state, state->program.statement_index(statement.name), best);  // or its default
    }
  }
  owner_group(*state, target).params["vectorize"] = 1;
  return set_params(state, target, action, step);
}

/// A statement named by an argument; -1 and a reason where there is none.
int named_statement(const ScheduleState& state, const Step& step, const char* name,
                    Reason* reason) {
  const std::string* text = step.find(name);
  const int index = text == nullptr ? -1 : state.program.statement_index(*text);
  if (index < 0) *reason = fmt::format("`{}` names no statement", text == nullptr ? "" : *text);
  return index;
}

Reason apply_pair(ScheduleState* state, int target, const ActionInfo& action, const Step& step) {
  Reason reason;
  const int other =
      named_statement(*state, step, std::string(action.params[0].name).c_str(), &reason);
  if (other < 0) return reason;
  if (other == target) return "a statement cannot be merged with itself";
  if (action.name == "fuse_prologue") return fuse_prologue(state, target, other);
  if (owner(*state, other) < 0)
    return fmt::format("`{}` was inlined", state->statement(other).name);
  if (action.name == "reverse_compute_inline") return pointwise_epilogue(state, target, other);
  if (action.name == "merge_reductions") return merge_reductions(state, target, other);
  return merge_groups(state, target, other);
}

/// Actions that always apply and only steer code generation.
Reason set_knob(ScheduleState* state, int target, const std::string& name, const Step& step) {
  Group& group = owner_group(*state, target);
  auto& params = group.params;
  if (name == "parallel") {
    if (group.skeleton == Skeleton::kNest) {
      params["parallel"] = 1;
      if (step.find("chunk") != nullptr) params["chunk"] = integer(step, "chunk", 0);
    } else if (step.find("over") != nullptr) {
      params["parallel"] = integer(step, "over", 0);
    }
  } else if (name == "unroll") {
    params["unroll"] = params["k_unroll"] = integer(step, "factor", 1);
  } else if (name == "interleave_accumulators") {
    params["accumulators"] = integer(step, "count", 1);
  } else if (name == "prefetch") {
    params["prefetch"] = integer(step, "distance", 0);
    params["late"] = integer(step, "late", 0);
  } else {
    params[name] = 1;
  }
  return "";
}

/// `target` is a maximum over some axes, `with` the sum of exponentials of the same less it.
Reason online_rewrite(ScheduleState* state, int target, const std::string& with) {
  const int other = state->program.statement_index(with);
  if (other < 0) return fmt::format("the task has no statement `{}`", with);
  Group& group = owner_group(*state, target);
  const std::vector<Statement> statements = inline_group(state->program, group);
  if (!online_pair(statements, state->statement(target).name, with)) {
    return "its group does not compute a maximum and, of it, a sum of exp(x - maximum)";
  }
  group.params["online"] = 1;
  return "";
}

/// The actions that stand for something of their own on a device.
constexpr const char* kDeviceOnly[] = {
    "launch_bounds", "cross_thread_reduction", "coarsen",           "vectorize",         "unroll",
    "cache_read",    "online_rewrite",         "software_pipeline", "register_transpose"};

bool device_only(std::string_view name) {
  return std::find(std::begin(kDeviceOnly), std::end(kDeviceOnly), name) != std::end(kDeviceOnly);
}

Reason apply_on_device(ScheduleState* state, int target, const ActionInfo& action,
                       const Step& step) {
  Group& group = owner_group(*state, target);
  const bool tiles = group.skeleton == Skeleton::kContraction;
  const std::string_view name = action.name;
  if (name == "software_pipeline") {
    if (!tiles) return "its group is not tensorized; do that first";
    group.params["stages"] = integer(step, "stages", 2);
  } else if (name == "vectorize") {
    if (const std::string* axis = step.find("axis")) {
      if (Reason reason = set_axis(state, target, *axis); !reason.empty()) return reason;
    }
    owner_group(*state, target).params["width"] = integer(step, "width", 4);
  } else if (name == "unroll") {
    group.params["unroll"] = integer(step, "factor", 1);
  } else if (name == "launch_bounds" && (!tiles || step.find("threads") == nullptr)) {
    if (!tiles) group.params["threads"] = integer(step, "threads", 256);
    if (step.find("resident") != nullptr) group.params["resident"] = integer(step, "resident", 1);
  } else if (tiles) {
    return "the tiles of a contraction decide that";
  } else if (name == "cross_thread_reduction") {
    const bool apart = integer(step, "apart", 0) != 0;
    group.params.erase(apart ? "row_threads" : "slices");
    group.params[apart ? "slices" : "row_threads"] = integer(step, "width", 32);
  } else if (name == "coarsen") {
    group.params["coarsen"] = integer(step, "factor", 1);
  } else if (name == "register_transpose") {
    group.params["register_transpose"] = 1;
  } else if (name == "cache_read") {
    const std::string& buffer = *step.find("buffer");
    if (buffer != "registers" && buffer != "local") return "a buffer is `registers` or `local`";
    group.params[buffer == "local" ? "window" : "keep"] = 1;
    if (buffer == "local") group.params["columns"] = integer(step, "columns", 32);
  } else {
    return online_rewrite(state, target, *step.find("with"));
  }
  return "";
}

Reason software_pipeline(ScheduleState* state, int target, const Step& step) {
  Group& group = owner_group(*state, target);
  if (group.skeleton != Skeleton::kNest) return "a contraction's steps overlap as they are";
  const std::vector<Statement> statements = inline_group(state->program, group);
  const auto passes = std::count_if(statements.begin(), statements.end(), [](const Statement& s) {
    return !s.axes.empty() || !s.reduce_axes.empty();
  });
  if (passes < 2) return "its group passes over a row once";
  group.params["pipeline"] = integer(step, "stages", 2);
  return "";
}

Reason apply_nest(ScheduleState* state, int target, const ActionInfo& action, const Step& step) {
  if (state->target != ScheduleTarget::kCpu && device_only(action.name)) {
    return apply_on_device(state, target, action, step);
  }
  Group& group = owner_group(*state, target);
  const std::string name(action.name);
  if (name == "vectorize") return vectorize(state, target, action, step);
  if (name == "reorder") return set_axis(state, target, *step.find("inner"));
  if (name == "rfactor") return rfactor(state, target, step);
  if (name == "set_precision") return set_precision(state, target, step);
  if (name == "emulate_precision") return emulate_precision(state, target, step);
  if (name == "non_temporal_store") return non_temporal(state, target);
  if (name == "tensorize") return tensorize(state, target);
  if (name == "approximate_math") return approximate_math(state, target);
  if (name == "software_pipeline") return software_pipeline(state, target, step);
  if (name == "parallel" || name == "fuse_loops" || name == "unroll" ||
      name == "interleave_accumulators" || name == "prefetch") {
    return set_knob(state, target, name, step);
  }
  if (name == "split") {
    if (axis_position(state->statement(target), *step.find("axis")) < 0) return "no such axis";
    group.params["block"] = integer(step, "factor", 1);
    return "";
  }
  return require_contraction(state, target, action, step);
}

Reason apply_action(ScheduleState* state, int target, const ActionInfo& action, const Step& step) {
  if (in_recurrence(*state, target)) return kRecurrenceReason;
  if (action.name == "compute_inline") return inline_statement(state, target);
  if (owner(*state, target) < 0) return "the statement was inlined";
  if (action.name == "compute_root") return compute_root(state, target);
  const bool own = state->target != ScheduleTarget::kCpu && device_only(action.name);
  if (action.params[0].kind == "statement" && !own) return apply_pair(state, target, action, step);
  return apply_nest(state, target, action, step);
}

Reason check_argument(const ActionParam& param, const Step& step) {
  const std::string* text = step.find(std::string(param.name));
  if (text == nullptr) {
    return param.optional ? "" : fmt::format("the argument `{}` is missing", param.name);
  }
  if (param.kind != "integer") return "";
  int64_t value = 0;
  const auto [end, fault] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (fault != std::errc() || end != text->data() + text->size()) {
    return fmt::format("`{}` is no whole number", *text);
  }
  if (value >= param.low && value <= param.high) return "";
  return fmt::format("`{}` must lie between {} and {}", param.name, param.low, param.high);
}

/// What is wrong with a step before looking at the schedule.
Reason check_step(const ActionInfo& action, const Step& step, ScheduleTarget target) {
  if (support_on(action, target) != Support::kApplied) {
    return fmt::format("no {} schedule performs it: {}",
                       target == ScheduleTarget::kCpu ? "CPU" : "device", how_on(action, target));
  }
  for (const ActionParam& param : action.params) {
    if (param.name.empty()) continue;
    if (Reason reason = check_argument(param, step); !reason.empty()) return reason;
  }
  for (const auto& argument : step.args) {
    const std::string& name = argument.first;
    const bool known = std::any_of(std::begin(action.params), std::end(action.params),
                                   [&](const ActionParam& param) { return param.name == name; });
    if (!known) return fmt::format("it has no argument `{}`", name);
  }
  return "";
}

Reason apply_step(ScheduleState* state, const Step& step, std::string* legality) {
  const ActionInfo* action = find_action(step.action);
  if (action == nullptr) return "there is no action of that name";
  *legality = action->legality;
  if (Reason reason = check_step(*action, step, state->target); !reason.empty()) return reason;
  const int target = state->program.statement_index(step.target);
  if (target < 0) return fmt::format("the task has no statement `{}`", step.target);
  return apply_action(state, target, *action, step);
}

ScheduleState initial_state(const Program& program, const ir::Sizes& sizes, ScheduleTarget target) {
  ScheduleState state{program, sizes, {}, target};
  const std::vector<ir::Recurrence> loops = ir::recurrences(program);
  for (int s = 0; s < static_cast<int>(program.statements.size()); ++s) {
    Group group;
    group.root = s;
    const ir::Recurrence* loop = ir::recurrence_of(loops, s);
    if (loop != nullptr) group.skeleton = Skeleton::kRecurrence;
    const int last = loop == nullptr ? s : loop->last;
    for (; s < last; ++s) group.statements.push_back(s);
    group.statements.push_back(s);
    state.groups.push_back(std::move(group));
  }
  return state;
}

/// `number`: of the step in its trace, for the message.
Result<void> take_step(ScheduleState* state, const Step& step, size_t number) {
  std::string legality;
  const Reason reason = apply_step(state, step, &legality);
  if (reason.empty()) return {};
  return Error{ErrorKind::kInput,
               fmt::format("step {} `{}` is illegal: {}", number, print(step), reason),
               legality.empty() ? "" : fmt::format("legal when: {}", legality)};
}

}  // namespace

int64_t Group::param(const std::string& name, int64_t fallback) const {
  auto found = params.find(name);
  return found == params.end() ? fallback : found->second;
}

Result<Schedule> apply(const Trace& trace, const Program& program, const ir::Sizes& sizes,
                       ScheduleTarget target) {
  ScheduleState state = initial_state(program, sizes, target);
  for (size_t s = 0; s < trace.size(); ++s) QUERN_TRY(take_step(&state, trace[s], s + 1));
  return Schedule{std::move(state.groups), trace};
}

Result<Schedule> extend(const Schedule& schedule, Step step, const Program& program,
                        const ir::Sizes& sizes, ScheduleTarget target) {
  ScheduleState state{program, sizes, schedule.groups, target};
  QUERN_TRY(take_step(&state, step, schedule.trace.size() + 1));
  Schedule longer{std::move(state.groups), schedule.trace};
  longer.trace.push_back(std::move(step));
  return longer;
}

std::vector<Step> legal_actions(const Program& program, const Trace& trace, const ir::Sizes& sizes,
                                ScheduleTarget target) {
  ScheduleState state = initial_state(program, sizes, target);
  std::string legality;
  for (const Step& step : trace) {
    if (!apply_step(&state, step, &legality).empty()) return {};
  }
  std::vector<Step> legal;
  auto keep = [&](Step step) {
    ScheduleState trial = state;
    if (apply_step(&trial, step, &legality).empty()) legal.push_back(std::move(step));
  };
  for (const ActionInfo& action : all_actions()) {
    if (support_on(action, target) != Support::kApplied) continue;
    for (const Statement& statement : program.statements) {
      Step step{std::string(action.name), statement.name, {}};
      const ActionParam& first = action.params[0];
      if (first.kind == "statement") {
        for (const Statement& other : program.statements) {
          step.args = {{std::string(first.name), other.name}};
          keep(step);
        }
      } else if (first.kind == "axis") {
        std::vector<ir::Axis> axes = statement.axes;
        axes.insert(axes.end(), statement.reduce_axes.begin(), statement.reduce_axes.end());
        for (const ir::Axis& axis : axes) {
          step.args = {{std::string(first.name), axis.name}};
          if (action.name == "split") step.args.emplace_back("factor", "256");
          keep(step);
        }
      } else {
        // What only refines a required argument is left at its default.
        for (const ActionParam& param : action.params) {
          if (param.kind == "integer" && (!param.optional || first.optional)) {
            const int64_t value = std::clamp<int64_t>(4, param.low, param.high);
            step.args.emplace_back(std::string(param.name), std::to_string(value));
          }
        }
        keep(step);
      }
    }
  }
  return legal;
}

}  // namespace quern
