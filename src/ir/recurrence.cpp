// SPDX-License-Identifier: Apache-2.0
#include "ir/recurrence.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace quern::ir {
namespace {

/// Which statements each statement reads, by index.
using Reads = std::vector<std::vector<int>>;

Reads reads_of(const Program& program) {
  std::map<std::string, int> index;
  for (size_t s = 0; s < program.statements.size(); ++s) {
    index.emplace(program.statements[s].name, static_cast<int>(s));
  }
  Reads reads;
  for (const Statement& statement : program.statements) {
    std::vector<int>& list = reads.emplace_back();
    for (const std::string& name : tensors_of(statement.body)) {
      const auto found = index.find(name);
      if (found != index.end()) list.push_back(found->second);
    }
  }
  return reads;
}

struct Range {
  int first = 0, last = 0;
};

/// The stretches spanned by reads of a statement's own or a later line, joined where they meet.
std::vector<Range> stretches(const Reads& reads) {
  std::vector<Range> ranges;
  for (int s = 0; s < static_cast<int>(reads.size()); ++s) {
    int last = -1;
    for (const int read : reads[static_cast<size_t>(s)]) last = std::max(last, read);
    if (last < s) continue;
    if (ranges.empty() || ranges.back().last < s) {
      ranges.push_back({s, last});
    } else {
      ranges.back().last = std::max(ranges.back().last, last);
    }
  }
  return ranges;
}

/// Which statements of a stretch `from` reads, directly or through others of it.
std::vector<bool> reached(const Reads& reads, Range range, int from) {
  std::vector<bool> seen(static_cast<size_t>(range.last - range.first + 1), false);
  std::vector<int> todo = {from};
  while (!todo.empty()) {
    const int at = todo.back();
    todo.pop_back();
    for (const int read : reads[static_cast<size_t>(at)]) {
      if (read < range.first || read > range.last) continue;
      if (seen[static_cast<size_t>(read - range.first)]) continue;
      seen[static_cast<size_t>(read - range.first)] = true;
      todo.push_back(read);
    }
  }
  return seen;
}

/// Which statements of a stretch depend on its first one and it on them: the quick answer where it
/// is all of them.
std::vector<bool> joined_with_first(const Reads& reads, Range range) {
  Reads readers(reads.size());
  for (int s = range.first; s <= range.last; ++s) {
    for (const int read : reads[static_cast<size_t>(s)]) {
      readers[static_cast<size_t>(read)].push_back(s);
    }
  }
  std::vector<bool> both = reached(reads, range, range.first);
  const std::vector<bool> back = reached(readers, range, range.first);
  for (size_t s = 0; s < both.size(); ++s) both[s] = both[s] && back[s];
  return both;
}

/// Longer stretches with strangers among them get a message that is cheaper to find.
constexpr int kLongStretch = 256;

/// The statements of one stretch, and what is wrong with them.
class Analysis {
 public:
  Analysis(const Program& program, const Reads& reads, Range range)
      : program_(program), reads_(reads), range_(range) {
    made_.first = range.first;
    made_.last = range.last;
    for (int s = range.first; s <= range.last; ++s) members_.emplace(at(s).name, s);
  }

  Recurrence run(std::optional<Fault>* fault) {
    *fault = membership();
    if (!*fault) *fault = kinds();
    std::optional<Fault> along = choose_axis();
    if (!*fault) *fault = std::move(along);
    return made_;
  }

 private:
  using MaybeFault = std::optional<Fault>;

  const Statement& at(int statement) const {
    return program_.statements[static_cast<size_t>(statement)];
  }
  Fault fault(int statement, const std::string& tensor, std::string message,
              std::string hint) const {
    return Fault{statement, tensor, std::move(message), std::move(hint)};
  }

  Fault outsider(int s) const {
    return fault(s, "",
                 fmt::format("`{}` stands between the statements of the recurrence of `{}`, but is "
                             "no part of it",
                             at(s).name, at(range_.first).name),
                 fmt::format("move its line behind that of `{}`", at(range_.last).name));
  }

  /// All of the stretch depend on one another.
  MaybeFault membership() const {
    const std::vector<bool> joined = joined_with_first(reads_, range_);
    const auto stranger = std::ranges::find(joined, false);
    if (stranger == joined.end()) return std::nullopt;
    if (range_.last - range_.first >= kLongStretch) {
      const int s = range_.first + static_cast<int>(stranger - joined.begin());
      return outsider(s);
    }
    std::vector<std::vector<bool>> from;
    for (int s = range_.first; s <= range_.last; ++s) from.push_back(reached(reads_, range_, s));
    const auto reaches = [&](int a, int b) {
      return from[static_cast<size_t>(a - range_.first)][static_cast<size_t>(b - range_.first)];
    };
    for (int s = range_.first; s <= range_.last; ++s) {
      for (const int read : reads_[static_cast<size_t>(s)]) {
        if (read <= s || reaches(read, s)) continue;
        return fault(s, at(read).name,
                     fmt::format("`{}` is used before it is defined", at(read).name),
                     "it does not depend on this statement: move its line up");
      }
    }
    for (int s = range_.first; s <= range_.last; ++s) {
      if (reaches(s, range_.first) && reaches(range_.first, s)) continue;
      const std::string& first = at(range_.first).name;
      if (reaches(s, s)) {
        return fault(s, "",
                     fmt::format("`{}` and `{}` are different recurrences, but their lines "
                                 "are mixed",
                                 first, at(s).name),
                     "write all lines of one, then all lines of the other");
      }
      return outsider(s);
    }
    return std::nullopt;
  }

  MaybeFault kinds() const {
    for (int s = range_.first; s <= range_.last; ++s) {
      const Statement& statement = at(s);
      if (statement.kind == Statement::Kind::kScan) {
        return fault(
            s, "",
            fmt::format("`{}` is a scan, which cannot be part of a recurrence", statement.name),
            "write the running value as a statement: `r[t] = (r[t - 1] else 0) + …`");
      }
      if (!is_float(statement.type)) {
        return fault(s, "",
                     fmt::format("`{}` holds integers; the statements of a recurrence hold "
                                 "floating-point numbers",
                                 statement.name),
                     "declare it f32, or compute positions after the recurrence");
      }
    }
    return std::nullopt;
  }

  int position_of(int statement, const std::string& axis) const {
    const std::vector<Axis>& axes = at(statement).axes;
    const auto found =
        std::ranges::find_if(axes, [&](const Axis& each) { return each.name == axis; });
    return found == axes.end() ? -1 : static_cast<int>(found - axes.begin());
  }

  /// The first shared axis along which every read is as it must be; else the fault of the first
  /// along which some statement is read at a distance.
  MaybeFault choose_axis() {
    MaybeFault first_fault;
    bool shifted_before = false, shared = false;
    for (const Axis& axis : at(range_.first).axes) {
      Recurrence trial = made_;
      trial.axis = axis.name;
      for (int s = range_.first; s <= range_.last; ++s) {
        trial.positions.push_back(position_of(s, axis.name));
      }
      if (std::ranges::find(trial.positions, -1) != trial.positions.end()) continue;
      shared = true;
      MaybeFault fault = along(&trial);
      if (!fault) {
        made_ = trial;
        return std::nullopt;
      }
      const bool better = !first_fault || (trial.reach > 0 && !shifted_before);
      if (better) first_fault = std::move(fault);
      shifted_before = shifted_before || trial.reach > 0;
    }
    if (shared) return first_fault;
    const bool alone = range_.first == range_.last;
    return fault(
        range_.first, "",
        alone ? fmt::format("`{}` is defined by itself and has no axis to run along",
                            at(range_.first).name)
              : fmt::format("`{}` and `{}` depend on one another, but the statements of "
                            "this recurrence share no axis to run along",
                            at(range_.first).name, at(range_.last).name),
        "give each of them the axis, under one name: `h[t < steps, …]`, `c[t < steps, …]`");
  }

  /// What breaks the rules along the axis of `trial`, whose direction and reach are set here.
  MaybeFault along(Recurrence* trial) const {
    const IntExpr& extent = at(range_.first).axes[static_cast<size_t>(trial->positions[0])].extent;
    int sign = 0;
    MaybeFault found;
    for (int s = range_.first; s <= range_.last; ++s) {
      const Axis& own = at(s).axes[static_cast<size_t>(trial->position(s))];
      if (!found && !(own.extent == extent)) {
        found = fault(s, "",
                      fmt::format("axis `{}` of `{}` runs over `{}`, but over `{}` in `{}`, "
                                  "which is part of the same recurrence",
                                  trial->axis, at(s).name, print(own.extent), print(extent),
                                  at(range_.first).name),
                      "a recurrence runs over one extent: give the axis the same one in all of it");
      }
      for (const Expr* load : loads_of(at(s).body)) {
        MaybeFault wrong = read(s, *load, trial, &sign);
        if (!found) found = std::move(wrong);
      }
    }
    trial->backwards = sign > 0;
    return found;
  }

  MaybeFault read(int reader, const Expr& load, Recurrence* trial, int* sign) const {
    const auto member = members_.find(load.name);
    if (member == members_.end()) return std::nullopt;
    const int made = member->second;
    const auto place = static_cast<size_t>(trial->position(made));
    if (place >= load.indices.size()) return std::nullopt;  // a fault of its own
    const std::string& axis = trial->axis;
    const std::optional<int64_t> offset = offset_along(load.indices[place], axis);
    if (!offset) {
      return fault(reader, load.name,
                   fmt::format("`{}` is read at `{}` along `{}`; within its recurrence it can be "
                               "read at `{}` or at a literal distance from it",
                               load.name, print(load.indices[place]), axis, axis),
                   fmt::format("write `{} - 1`, and `else` for what lies before the first", axis));
    }
    if (*offset == 0 && made < reader) return std::nullopt;
    if (*offset == 0) {
      return fault(
          reader, load.name,
          made == reader
              ? fmt::format("`{}` is defined by itself at the same `{}`", load.name, axis)
              : fmt::format("`{}` is read at `{}`, but its line comes later", load.name, axis),
          fmt::format("read it at `{} - 1`{}", axis,
                      made == reader ? "" : ", or move its line up"));
    }
    const int way = *offset > 0 ? 1 : -1;
    trial->reach = std::max(trial->reach, *offset > 0 ? *offset : -*offset);
    if (*sign == 0) *sign = way;
    if (*sign == way) return std::nullopt;
    return fault(
        reader, load.name, fmt::format("this recurrence reads both before and after `{}`", axis),
        fmt::format("a recurrence runs one way: read at `{0} - 1` or at `{0} + 1` only", axis));
  }

  const Program& program_;
  const Reads& reads_;
  Range range_;
  std::map<std::string, int> members_;  ///< by name
  Recurrence made_;
};

}  // namespace

std::optional<int64_t> offset_along(const IntExpr& index, const std::string& axis) {
  using Kind = IntExpr::Kind;
  if (index.kind == Kind::kAxis && index.name == axis) return 0;
  if (index.kind != Kind::kAdd && index.kind != Kind::kSub) return std::nullopt;
  const bool swapped = index.kind == Kind::kAdd && index.args[0].kind == Kind::kConstant;
  const IntExpr& base = index.args[swapped ? 1 : 0];
  const IntExpr& step = index.args[swapped ? 0 : 1];
  const std::optional<int64_t> before = offset_along(base, axis);
  constexpr int64_t kFar = int64_t{1} << 40;
  if (!before || step.kind != Kind::kConstant || step.value > kFar || step.value < -kFar) {
    return std::nullopt;
  }
  const int64_t offset = index.kind == Kind::kAdd ? *before + step.value : *before - step.value;
  if (offset > kFar || offset < -kFar) return std::nullopt;
  return offset;
}

std::vector<Recurrence> recurrences(const Program& program) {
  const Reads reads = reads_of(program);
  std::vector<Recurrence> list;
  for (const Range range : stretches(reads)) {
    std::optional<Fault> fault;
    list.push_back(Analysis(program, reads, range).run(&fault));
  }
  return list;
}

const Recurrence* recurrence_of(const std::vector<Recurrence>& list, int statement) {
  for (const Recurrence& each : list) {
    if (each.holds(statement)) return &each;
  }
  return nullptr;
}

std::optional<Fault> find_recurrence_fault(const Program& program) {
  const Reads reads = reads_of(program);
  for (const Range range : stretches(reads)) {
    std::optional<Fault> fault;
    Analysis(program, reads, range).run(&fault);
    if (fault) return fault;
  }
  return std::nullopt;
}

std::vector<int> gather_recurrences(Program& program) {
  const Reads reads = reads_of(program);
  std::vector<int> order;
  int next = 0;
  const auto count = static_cast<int>(program.statements.size());
  for (const Range range : stretches(reads)) {
    for (; next < range.first; ++next) order.push_back(next);
    const std::vector<bool> joined = joined_with_first(reads, range);
    const bool strangers = std::ranges::find(joined, false) != joined.end();
    if (!strangers || range.last - range.first >= kLongStretch) {
      for (; next <= range.last; ++next) order.push_back(next);
      continue;
    }
    std::vector<bool> member;
    for (int s = range.first; s <= range.last; ++s) {
      member.push_back(reached(reads, range, s)[static_cast<size_t>(s - range.first)]);
    }
    std::vector<int> rest;
    for (; next <= range.last; ++next) {
      const std::vector<bool> needs = reached(reads, range, next);
      bool depends = false;
      for (size_t m = 0; m < needs.size(); ++m) depends = depends || (needs[m] && member[m]);
      (depends ? rest : order).push_back(next);
    }
    order.insert(order.end(), rest.begin(), rest.end());
  }
  for (; next < count; ++next) order.push_back(next);
  std::vector<Statement> sorted;
  for (const int from : order) {
    sorted.push_back(std::move(program.statements[static_cast<size_t>(from)]));
  }
  program.statements = std::move(sorted);
  return order;
}

}  // namespace quern::ir
