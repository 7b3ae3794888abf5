// SPDX-License-Identifier: Apache-2.0
#include "ir/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/suggest.h"
#include "ir/recurrence.h"

namespace quern::ir {
namespace {

using MaybeFault = std::optional<Fault>;

/// Walks a program in order with the names known so far.
class Checker {
 public:
  explicit Checker(const Program& program) : program_(program) {}

  MaybeFault run() {
    if (MaybeFault fault = sizes()) return fault;
    if (MaybeFault fault = inputs()) return fault;
    for (at_ = 0; at_ < static_cast<int>(program_.statements.size()); ++at_) {
      if (MaybeFault fault = statement()) return fault;
    }
    at_ = -1;
    if (MaybeFault fault = find_recurrence_fault(program_)) return fault;
    return whole();
  }

 private:
  Fault fault(std::string message, std::string tensor = "", std::string hint = "") const {
    return Fault{at_, std::move(tensor), std::move(message), std::move(hint)};
  }

  MaybeFault define(const std::string& name, const char* what) {
    if (name.empty()) return fault(fmt::format("{} has no name", what));
    if (size_names_.count(name) != 0 || (ranks_.count(name) != 0 && ahead_.erase(name) == 0)) {
      return fault(fmt::format("`{}` is defined twice", name), name);
    }
    return std::nullopt;
  }

  MaybeFault sizes() {
    for (const SizeDecl& size : program_.sizes) {
      if (MaybeFault f = define(size.name, "a size")) return f;
      if (size.let) {
        if (MaybeFault f = over_sizes(*size.let, size.name)) return f;
      }
      size_names_.insert(size.name);
    }
    for (const SizeSet& set : program_.size_sets) {
      for (const auto& [name, value] : set.values) {
        if (size_names_.count(name) == 0) {
          return fault(fmt::format("size set `{}` names an unknown size `{}`", set.name, name));
        }
      }
    }
    return std::nullopt;
  }

  /// An extent: known sizes only.
  MaybeFault over_sizes(const IntExpr& expr, const std::string& tensor) {
    if (expr.kind == IntExpr::Kind::kAxis || expr.kind == IntExpr::Kind::kGather) {
      return fault(fmt::format("the extent `{}` of `{}` may use sizes only", print(expr), tensor),
                   tensor);
    }
    if (expr.kind == IntExpr::Kind::kSize) {
      if (size_names_.count(expr.name) == 0) {
        return fault(fmt::format("unknown size `{}`", expr.name), tensor);
      }
      used_.insert(expr.name);
    }
    for (const IntExpr& arg : expr.args) {
      if (MaybeFault f = over_sizes(arg, tensor)) return f;
    }
    return std::nullopt;
  }

  MaybeFault inputs() {
    for (const InputDecl& input : program_.inputs) {
      if (MaybeFault f = define(input.name, "an input")) return f;
      for (const IntExpr& extent : input.shape) {
        if (MaybeFault f = over_sizes(extent, input.name)) return f;
      }
      const Distribution& draw = input.distribution;
      if (draw.kind == Distribution::Kind::kIntegers) {
        if (MaybeFault f = over_sizes(draw.low, input.name)) return f;
        if (MaybeFault f = over_sizes(draw.high, input.name)) return f;
      } else if (draw.kind != Distribution::Kind::kConstant && !is_float(input.type)) {
        return fault(
            fmt::format("`{}` holds integers and needs an integer distribution", input.name),
            input.name, "write `~ integers(low, high)`");
      }
      ranks_[input.name] = input.shape.size();
      types_[input.name] = input.type;
    }
    return std::nullopt;
  }

  MaybeFault statement() {
    const Statement& s = program_.statements[static_cast<size_t>(at_)];
    if (MaybeFault f = define(s.name, "a statement")) return f;
    axes_.clear();
    for (const std::vector<Axis>* list : {&s.axes, &s.reduce_axes}) {
      for (const Axis& axis : *list) {
        if (!axes_.insert(axis.name).second) {
          return fault(fmt::format("axis `{}` appears twice", axis.name), s.name);
        }
        all_axes_.insert(axis.name);
        if (MaybeFault f = over_sizes(axis.extent, s.name)) return f;
      }
    }
    if (MaybeFault f = shape_of_kind(s)) return f;
    bool boolean = false;
    if (MaybeFault f = value(s.body, &boolean)) return f;
    if (boolean) {
      return fault(fmt::format("the value of `{}` is a condition", s.name), s.name,
                   "write `select(condition, 1, 0)`");
    }
    for (const Axis& axis : s.reduce_axes) {
      if (!uses_axis(s.body, axis.name)) {
        return fault(fmt::format("the reduction axis `{}` is not used", axis.name), s.name);
      }
    }
    ranks_[s.name] = s.axes.size();
    types_[s.name] = s.type;
    return std::nullopt;
  }

  MaybeFault shape_of_kind(const Statement& s) {
    bool arg_form = s.monoid == Monoid::kArgMax || s.monoid == Monoid::kArgMin;
    if (s.kind == Statement::Kind::kReduce) {
      if (s.reduce_axes.empty()) return fault("a reduction needs an axis", s.name);
      if (arg_form && s.reduce_axes.size() != 1) {
        return fault(fmt::format("`{}` runs over exactly one axis", monoid_name(s.monoid)), s.name);
      }
      if (arg_form && is_float(s.type)) {
        return fault(fmt::format("`{}` yields positions; `{}` must hold integers",
                                 monoid_name(s.monoid), s.name),
                     s.name, "declare it as i64");
      }
      return std::nullopt;
    }
    if (!s.reduce_axes.empty()) return fault("only a reduction has reduction axes", s.name);
    if (s.kind == Statement::Kind::kScan) {
      if (arg_form) return fault("a scan runs sum, prod, max or min", s.name);
      if (s.scan_axis < 0 || s.scan_axis >= static_cast<int>(s.axes.size())) {
        return fault("a scan runs along one of its own axes", s.name);
      }
    }
    return std::nullopt;
  }

  MaybeFault known_tensor(const std::string& name, size_t indices) {
    auto found = ranks_.find(name);
    const int ahead = found == ranks_.end() ? program_.statement_index(name) : -1;
    if (ahead >= 0) {  // of itself or a later line: a recurrence may, which is checked at the end
      const Statement& statement = program_.statements[static_cast<size_t>(ahead)];
      found = ranks_.emplace(name, statement.axes.size()).first;
      types_.emplace(name, statement.type);
      ahead_.insert(name);
    }
    if (found == ranks_.end()) {
      std::vector<std::string> known;
      for (const auto& [tensor, rank] : ranks_) known.push_back(tensor);
      return fault(fmt::format("unknown tensor `{}`", name), name, did_you_mean(name, known));
    }
    used_.insert(name);
    if (found->second != indices) {
      return fault(fmt::format("`{}` has {} {}, but is used with {}", name, found->second,
                               found->second == 1 ? "axis" : "axes", indices),
                   name);
    }
    return std::nullopt;
  }

  MaybeFault index(const IntExpr& expr) {
    if (expr.kind == IntExpr::Kind::kAxis && axes_.count(expr.name) == 0) {
      return fault(fmt::format("unknown axis `{}`", expr.name));
    }
    if (expr.kind == IntExpr::Kind::kSize) {
      if (size_names_.count(expr.name) == 0)
        return fault(fmt::format("unknown size `{}`", expr.name));
      used_.insert(expr.name);
    }
    if (expr.kind == IntExpr::Kind::kGather) {
      if (MaybeFault f = known_tensor(expr.name, expr.args.size())) return f;
      if (is_float(types_[expr.name])) {
        return fault(fmt::format("`{}` holds {}; an index must be an integer", expr.name,
                                 dtype_name(types_[expr.name])),
                     expr.name);
      }
    }
    for (const IntExpr& arg : expr.args) {
      if (MaybeFault f = index(arg)) return f;
    }
    return std::nullopt;
  }

  MaybeFault value(const Expr& expr, bool* boolean) {
    *boolean = false;
    for (const IntExpr& arg : expr.indices) {
      if (MaybeFault f = index(arg)) return f;
    }
    if (expr.kind == Expr::Kind::kLoad) {
      if (MaybeFault f = known_tensor(expr.name, expr.indices.size())) return f;
      if (expr.args.size() > 1) return fault("a load has one `else`", expr.name);
    }
    bool wants_conditions = expr.kind == Expr::Kind::kOp &&
                            (expr.op == Op::kAnd || expr.op == Op::kOr || expr.op == Op::kNot);
    for (size_t i = 0; i < expr.args.size(); ++i) {
      bool is_condition = false;
      if (MaybeFault f = value(expr.args[i], &is_condition)) return f;
      bool wanted =
          wants_conditions || (expr.kind == Expr::Kind::kOp && expr.op == Op::kSelect && i == 0);
      if (is_condition != wanted) {
        return fault(
            wanted
                ? fmt::format("`{}` is a value where a condition is needed", print(expr.args[i]))
                : fmt::format("`{}` is a condition where a value is needed", print(expr.args[i])),
            "", wanted ? "" : "write `select(condition, 1, 0)`");
      }
    }
    *boolean = expr.kind == Expr::Kind::kOp && op_info(expr.op).boolean;
    return std::nullopt;
  }

  /// Faults of the program as a whole: clashes of axes with other names, and names never used.
  MaybeFault whole() {
    for (const std::string& axis : all_axes_) {
      if (size_names_.count(axis) != 0 || ranks_.count(axis) != 0) {
        return fault(fmt::format("`{}` names both an axis and a {}", axis,
                                 size_names_.count(axis) != 0 ? "size" : "tensor"),
                     axis, "give the axis another name");
      }
    }
    if (program_.outputs().empty()) {
      return fault("the task has no output", "", "mark a statement: `output y[i] = …`");
    }
    for (const InputDecl& input : program_.inputs) {
      if (used_.count(input.name) == 0)
        return fault(fmt::format("input `{}` is never used", input.name), input.name);
    }
    for (size_t i = 0; i < program_.statements.size(); ++i) {
      const Statement& s = program_.statements[i];
      if (s.is_output || used_.count(s.name) != 0) continue;
      at_ = static_cast<int>(i);
      return fault(fmt::format("`{}` is never used", s.name), s.name,
                   "mark it `output`, or remove it");
    }
    for (const Recurrence& recurrence : recurrences(program_)) {
      if (MaybeFault f = unused(recurrence)) return f;
    }
    for (const SizeDecl& size : program_.sizes) {
      if (used_.count(size.name) == 0)
        return fault(fmt::format("size `{}` is never used", size.name), size.name);
    }
    return std::nullopt;
  }

  /// Its statements use one another; some other must use one of them.
  MaybeFault unused(const Recurrence& recurrence) {
    const auto begin = program_.statements.begin();
    for (auto s = begin + recurrence.first; s <= begin + recurrence.last; ++s) {
      if (s->is_output) return std::nullopt;
      for (auto reader = begin + recurrence.last + 1; reader != program_.statements.end();
           ++reader) {
        const std::vector<std::string> read = tensors_of(reader->body);
        if (std::find(read.begin(), read.end(), s->name) != read.end()) return std::nullopt;
      }
    }
    at_ = recurrence.last;
    const std::string& name = program_.statements[static_cast<size_t>(at_)].name;
    return fault(fmt::format("`{}` is never used but by its own recurrence", name), name,
                 "mark it `output`, or remove it");
  }

  const Program& program_;
  int at_ = -1;  ///< the statement at hand, or -1 among declarations
  std::set<std::string> size_names_, used_, axes_, all_axes_;
  std::set<std::string> ahead_;  ///< read, but not defined yet
  std::map<std::string, size_t> ranks_;
  std::map<std::string, DType> types_;
};

Error to_error(const Program& program, const Fault& fault) {
  std::string where =
      fault.statement < 0
          ? fmt::format("task `{}`", program.name)
          : fmt::format("statement `{}`",
                        program.statements[static_cast<size_t>(fault.statement)].name);
  return Error{ErrorKind::kInput, fmt::format("{}: {}", where, fault.message), fault.hint};
}

}  // namespace

std::optional<Fault> find_fault(const Program& program) {
  Checker checker(program);
  return checker.run();
}

Result<void> check(const Program& program) {
  if (std::optional<Fault> fault = find_fault(program)) return to_error(program, *fault);
  return {};
}

Result<void> check_sizes(const Program& program, const Sizes& sizes) {
  if (std::optional<Fault> fault = find_size_fault(program, sizes))
    return to_error(program, *fault);
  return {};
}

}  // namespace quern::ir
