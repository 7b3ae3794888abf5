// SPDX-License-Identifier: Apache-2.0
#include "schedule/regroup.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

#include "schedule/rows.h"

namespace quern {
namespace {

using ir::Program;
using ir::Statement;

/// Tensors that the stored statements of a group read, through what is inlined in it.
std::vector<std::string> reads_of(const Program& program, const Group& group) {
  std::vector<std::string> names;
  std::vector<int> todo, inlined;
  for (const int index : group.statements) {
    if (!contains(group.inlined, index)) todo.push_back(index);
  }
  while (!todo.empty()) {
    const Statement& statement = program.statements[static_cast<size_t>(todo.back())];
    todo.pop_back();
    for (std::string& name : ir::tensors_of(statement.body)) {
      const int made = program.statement_index(name);
      if (made < 0 || !contains(group.inlined, made) || !contains(group.statements, made)) {
        names.push_back(std::move(name));
      } else if (!contains(inlined, made)) {
        inlined.push_back(made);
        todo.push_back(made);
      }
    }
  }
  return names;
}

/// Orders groups so that each comes after those it reads, otherwise as they are; false where there
/// is a cycle.
bool sort_groups(ScheduleState* state) {
  const size_t count = state->groups.size();
  std::map<std::string, size_t> makers;  // group by what it stores
  std::vector<std::vector<std::string>> reads;
  for (size_t g = 0; g < count; ++g) {
    const Group& group = state->groups[g];
    for (const int statement : group.statements) {
      if (!contains(group.inlined, statement)) makers[state->statement(statement).name] = g;
    }
    reads.push_back(reads_of(state->program, group));
  }
  std::vector<bool> placed(count, false);
  const auto ready = [&](size_t g) {
    return !placed[g] && std::ranges::all_of(reads[g], [&](const std::string& name) {
      const auto made = makers.find(name);
      return made == makers.end() || made->second == g || placed[made->second];
    });
  };
  std::vector<Group> sorted;
  while (sorted.size() < count) {
    size_t g = 0;
    while (g < count && !ready(g)) ++g;
    if (g == count) return false;
    placed[g] = true;
    sorted.push_back(state->groups[g]);
  }
  state->groups = std::move(sorted);
  return true;
}

int forced_axis(const Group& group, const std::string& statement) {
  return static_cast<int>(group.param("axis." + statement, -1));
}

void sort_members(Group* group) {
  auto tidy = [](std::vector<int>* list) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  };
  tidy(&group->statements);
  tidy(&group->inlined);
}

bool gathered_by(const ir::IntExpr& expr, const std::string& name) {
  if (expr.kind == ir::IntExpr::Kind::kGather && expr.name == name) return true;
  return std::any_of(expr.args.begin(), expr.args.end(),
                     [&](const ir::IntExpr& arg) { return gathered_by(arg, name); });
}

bool gathered_by(const ir::Expr& expr, const std::string& name) {
  return std::any_of(expr.indices.begin(), expr.indices.end(),
                     [&](const ir::IntExpr& index) { return gathered_by(index, name); }) ||
         std::any_of(expr.args.begin(), expr.args.end(),
                     [&](const ir::Expr& arg) { return gathered_by(arg, name); });
}

}  // namespace

bool contains(const std::vector<int>& list, int value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

int owner(const ScheduleState& state, int statement) {
  for (size_t g = 0; g < state.groups.size(); ++g) {
    const Group& group = state.groups[g];
    if (contains(group.statements, statement) && !contains(group.inlined, statement)) {
      return static_cast<int>(g);
    }
  }
  return -1;
}

Group& owner_group(ScheduleState& state, int statement) {
  const int g = owner(state, statement);
  QUERN_CHECK(g >= 0, "a statement without a group");
  return state.groups[static_cast<size_t>(g)];
}

bool in_recurrence(const ScheduleState& state, int statement) {
  const int g = owner(state, statement);
  return g >= 0 && state.groups[static_cast<size_t>(g)].skeleton == Skeleton::kRecurrence;
}

Reason check_fused(const ScheduleState& state, const Group& group) {
  const std::vector<Statement> statements = inline_group(state.program, group);
  if (statements.size() <= 1 || group.skeleton == Skeleton::kContraction) return "";
  if (pointwise_chain(statements)) return "";
  std::vector<int> positions;
  for (const Statement& statement : statements) {
    positions.push_back(vector_position(statement, forced_axis(group, statement.name)));
  }
  if (most_rows(statements, positions).rows > 0) return "";
  return "the statements share no leading axes that keep every access inside a row";
}

Reason merge_groups(ScheduleState* state, int a, int b) {
  const int ga = owner(*state, a);
  const int gb = owner(*state, b);
  if (ga < 0 || gb < 0) return "one of the statements was inlined";
  if (in_recurrence(*state, a) || in_recurrence(*state, b)) return kRecurrenceReason;
  if (ga == gb) return "";
  ScheduleState trial = *state;
  Group& into = trial.groups[static_cast<size_t>(ga)];
  const Group from = trial.groups[static_cast<size_t>(gb)];
  into.statements.insert(into.statements.end(), from.statements.begin(), from.statements.end());
  into.inlined.insert(into.inlined.end(), from.inlined.begin(), from.inlined.end());
  for (const auto& [name, value] : from.params) into.params.emplace(name, value);
  if (from.skeleton == Skeleton::kContraction) {
    into.skeleton = from.skeleton;
    into.root = from.root;
  }
  sort_members(&into);
  if (Reason reason = check_fused(trial, into); !reason.empty()) return reason;
  trial.groups.erase(trial.groups.begin() + gb);
  if (!sort_groups(&trial)) return "another group lies on a path between the two";
  state->groups = std::move(trial.groups);
  return "";
}

Reason inline_statement(ScheduleState* state, int producer) {
  const Statement& made = state->statement(producer);
  if (made.kind != Statement::Kind::kMap) return "only a map can be recomputed by its readers";
  if (made.is_output) return "an output must be stored";
  if (!is_float(made.type)) return "integer tensors are stored";
  if (owner(*state, producer) < 0) return "it is inlined already";
  for (const Statement& reader : state->program.statements) {
    if (gathered_by(reader.body, made.name)) return "a gather indexes with it";
    const std::vector<std::string> reads = ir::tensors_of(reader.body);
    const bool recurrent = in_recurrence(*state, state->program.statement_index(reader.name));
    if (recurrent && std::ranges::find(reads, made.name) != reads.end()) {
      return fmt::format("`{}` reads it, which is part of a recurrence", reader.name);
    }
  }
  ScheduleState trial = *state;
  const int own = owner(trial, producer);
  std::vector<int> carried;  // inlined producers that its readers now need too
  Group& home = trial.groups[static_cast<size_t>(own)];
  for (int index : home.inlined) carried.push_back(index);
  std::vector<size_t> changed = {static_cast<size_t>(own)};
  for (size_t g = 0; g < trial.groups.size(); ++g) {
    Group& group = trial.groups[g];
    const std::vector<std::string> reads = reads_of(trial.program, group);
    if (std::ranges::find(reads, made.name) == reads.end()) continue;
    changed.push_back(g);
    group.statements.push_back(producer);
    group.inlined.push_back(producer);
    group.statements.insert(group.statements.end(), carried.begin(), carried.end());
    group.inlined.insert(group.inlined.end(), carried.begin(), carried.end());
    sort_members(&group);
  }
  if (!contains(home.inlined, producer)) {
    home.statements.erase(std::find(home.statements.begin(), home.statements.end(), producer));
  }
  for (const size_t g : changed) {
    if (Reason reason = check_fused(trial, trial.groups[g]); !reason.empty()) return reason;
  }
  if (inline_group(trial.program, home).empty()) trial.groups.erase(trial.groups.begin() + own);
  if (!sort_groups(&trial)) return "its readers would wait for one another";
  state->groups = std::move(trial.groups);
  return "";
}

Reason compute_root(ScheduleState* state, int statement) {
  const int g = owner(*state, statement);
  if (g < 0) return "it was inlined";
  Group& group = state->groups[static_cast<size_t>(g)];
  if (inline_group(state->program, group).size() < 2) return "it has its own loops already";
  ScheduleState trial = *state;
  Group alone = group;
  alone.params.clear();
  for (const auto& [name, value] : group.params) {
    if (name == "parallel" || name == "vectorize" || name == "width") alone.params[name] = value;
  }
  alone.skeleton = Skeleton::kNest;
  alone.root = statement;
  alone.statements = group.inlined;
  alone.inlined = group.inlined;
  alone.statements.push_back(statement);
  sort_members(&alone);
  Group& rest = trial.groups[static_cast<size_t>(g)];
  rest.statements.erase(std::find(rest.statements.begin(), rest.statements.end(), statement));
  if (Reason reason = check_fused(trial, alone); !reason.empty()) return reason;
  if (Reason reason = check_fused(trial, rest); !reason.empty()) return reason;
  trial.groups.push_back(std::move(alone));
  if (!sort_groups(&trial)) return "the rest of its group both makes and needs it";
  state->groups = std::move(trial.groups);
  return "";
}

}  // namespace quern
