// SPDX-License-Identifier: Apache-2.0
#include <rapidcheck.h>

#include "ir/check.h"
#include "task/lower.h"
#include "task/parse.h"

/// Parsing the canonical text of any program gives the program back.
namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Op;

int pick(int limit) { return *rc::gen::inRange(0, limit); }
template <class T>
const T& one_of(const std::vector<T>& list) {
  return list[static_cast<size_t>(pick(static_cast<int>(list.size())))];
}

/// Builds a random program that passes `check`.
class Builder {
 public:
  ir::Program build() {
    program_.name = "t";
    if (pick(2) == 0) program_.doc = {"A task.", "", "  indented"};
    int sizes = 1 + pick(3);
    std::vector<IntExpr> everything;
    for (int i = 0; i < sizes; ++i) {
      program_.sizes.push_back({"n" + std::to_string(i), 2 + pick(9), std::nullopt});
      everything.push_back(ir::int_size(program_.sizes.back().name));
    }
    if (pick(2) == 0) {
      program_.sizes.push_back({"half", 0, extent() + ir::int_constant(1)});
      everything.push_back(ir::int_size("half"));
    }
    if (pick(2) == 0) program_.size_sets.push_back({"tiny", {{"n0", 1 + pick(3)}}});
    input(everything, DType::kF32);
    for (int i = pick(3); i > 0; --i) input(some_shape(), pick(5) == 0 ? DType::kF64 : DType::kF32);
    labels();
    for (int i = 1 + pick(4); i > 0; --i) statement();
    close();
    return program_;
  }

 private:
  IntExpr extent() { return ir::int_size(one_of(program_.free_sizes())); }

  std::vector<IntExpr> some_shape() {
    std::vector<IntExpr> shape;
    for (int i = pick(4); i > 0; --i)
      shape.push_back(pick(4) == 0 ? ir::int_constant(1 + pick(4)) : extent());
    return shape;
  }

  void input(std::vector<IntExpr> shape, DType type) {
    ir::InputDecl decl;
    decl.name = "x" + std::to_string(program_.inputs.size());
    decl.type = type;
    decl.shape = std::move(shape);
    decl.is_param = pick(2) == 0;
    decl.distribution.kind = static_cast<ir::Distribution::Kind>(pick(2));
    if (decl.distribution.kind == ir::Distribution::Kind::kUniform) {
      decl.distribution.a = -0.5;
      decl.distribution.b = 1.25;
    }
    tensors_.push_back(decl.name);
    program_.inputs.push_back(std::move(decl));
  }

  /// Positions along an axis of extent n0, for gathers.
  void labels() {
    ir::InputDecl decl;
    decl.name = "labels";
    decl.type = DType::kI64;
    decl.shape = {ir::int_size("n0")};
    decl.distribution.kind = ir::Distribution::Kind::kIntegers;
    decl.distribution.low = ir::int_constant(0);
    decl.distribution.high = ir::int_size("n0") - ir::int_constant(1);
    program_.inputs.push_back(std::move(decl));
  }

  IntExpr index(int depth) {
    switch (pick(depth > 0 ? 7 : 3)) {
      case 0:
        return ir::int_constant(pick(7) - 3);
      case 1:
        return extent();
      case 2:
        return axes_.empty() ? extent() : ir::int_axis(one_of(axes_).name);
      case 3:
        return ir::int_binary(IntExpr::Kind::kDiv, index(depth - 1), ir::int_constant(1 + pick(3)));
      case 4:
        return ir::int_binary(IntExpr::Kind::kMod, index(depth - 1), ir::int_constant(1 + pick(3)));
      case 5:
        return index(depth - 1) * index(depth - 1) - index(depth - 1);
      default:
        return ir::int_binary(pick(2) == 0 ? IntExpr::Kind::kMin : IntExpr::Kind::kMax,
                              index(depth - 1), index(depth - 1) + index(depth - 1));
    }
  }

  Expr access(int depth) {
    std::string tensor = one_of(tensors_);
    std::vector<IntExpr> shape = program_.shape_of(tensor), indices;
    bool safe = true;
    for (const IntExpr& extent : shape) {
      const ir::Axis* fitting = nullptr;
      for (const ir::Axis& axis : axes_) {
        if (axis.extent == extent) fitting = &axis;
      }
      bool gather = extent == ir::int_size("n0") && fitting != nullptr && pick(4) == 0;
      if (gather) {
        IntExpr label;
        label.kind = IntExpr::Kind::kGather;
        label.name = "labels";
        label.args = {ir::int_axis(fitting->name)};
        indices.push_back(label);
      } else if (fitting != nullptr && pick(3) > 0) {
        indices.push_back(ir::int_axis(fitting->name));
      } else {
        safe = safe && pick(2) == 0;
        indices.push_back(safe ? ir::int_constant(0) : index(2));
      }
    }
    if (safe || indices.empty()) return ir::load(tensor, indices);
    return ir::load_else(tensor, indices, value(depth - 1));
  }

  Expr condition(int depth) {
    Op compare = static_cast<Op>(static_cast<int>(Op::kLt) + pick(6));
    switch (pick(depth > 0 ? 5 : 2)) {
      case 0:
        return ir::apply(compare, {ir::index_value(index(1)), ir::index_value(extent())});
      case 1: {
        // Integers are compared as index expressions: the parser makes no value of such a load.
        Expr left = access(0);
        if (!is_float(program_.type_of(left.name))) left = ir::constant(0.5);
        return ir::apply(compare, {std::move(left), value(depth - 1)});
      }
      case 2:
        return ir::apply(Op::kAnd, {condition(depth - 1), condition(depth - 1)});
      case 3:
        return ir::apply(Op::kOr, {condition(depth - 1), condition(depth - 1)});
      default:
        return ir::apply(Op::kNot, {condition(depth - 1)});
    }
  }

  Expr value(int depth) {
    switch (depth > 0 ? pick(8) : pick(3)) {
      case 0:
        return ir::constant(pick(9) == 0 ? -INFINITY : 0.25 * (pick(40) - 20));
      case 1:
        return ir::index_value(index(2));
      case 2:
      case 3:
        return depth > 0 ? access(depth) : ir::constant(1e-5);
      case 4:
        return ir::apply(static_cast<Op>(pick(static_cast<int>(Op::kAdd))), {value(depth - 1)});
      case 5:
        return ir::apply(Op::kSelect, {condition(depth - 1), value(depth - 1), value(depth - 1)});
      default: {
        int first = static_cast<int>(Op::kAdd), count = static_cast<int>(Op::kLt) - first;
        return ir::apply(static_cast<Op>(first + pick(count)),
                         {value(depth - 1), value(depth - 1)});
      }
    }
  }

  /// A statement over the axes of some tensor, which it reads at those axes.
  void statement() {
    ir::Statement s;
    s.name = "t" + std::to_string(program_.statements.size());
    std::string source = one_of(tensors_);
    std::vector<IntExpr> shape = program_.shape_of(source), indices;
    static const char* kNames[] = {"i", "j", "k", "l"};
    bool reduce = !shape.empty() && pick(2) == 0;
    for (size_t d = 0; d < shape.size(); ++d) {
      ir::Axis axis{kNames[d], shape[d]};
      indices.push_back(ir::int_axis(axis.name));
      bool over = reduce && (d == 0 || pick(2) == 0);
      (over ? s.reduce_axes : s.axes).push_back(axis);
    }
    axes_ = s.axes;
    axes_.insert(axes_.end(), s.reduce_axes.begin(), s.reduce_axes.end());
    s.body = ir::apply(Op::kAdd, {ir::load(source, indices), value(3)});
    if (reduce) {
      s.kind = ir::Statement::Kind::kReduce;
      s.monoid = static_cast<ir::Monoid>(pick(s.reduce_axes.size() == 1 ? 6 : 4));
    } else if (!s.axes.empty() && pick(3) == 0) {
      s.kind = ir::Statement::Kind::kScan;
      s.monoid = static_cast<ir::Monoid>(pick(4));
      s.scan_axis = pick(static_cast<int>(s.axes.size()));
      s.exclusive = pick(2) == 0;
      s.reverse = pick(2) == 0;
    }
    if (pick(4) == 0) s.origin = "softmax";
    s.type = default_type(program_, s);
    s.is_output = true;
    tensors_.push_back(s.name);
    program_.statements.push_back(std::move(s));
  }

  /// Reads whatever has not been read.
  void close() {
    ir::Statement s;
    s.name = "last";
    s.is_output = true;
    s.axes = {{"i", ir::int_size("n0")}};
    s.body = ir::load("labels", {ir::int_axis("i")});
    axes_ = s.axes;
    for (const ir::InputDecl& input : program_.inputs) {
      std::vector<IntExpr> origin(input.shape.size(), ir::int_constant(0));
      s.body = ir::apply(Op::kAdd, {std::move(s.body), ir::load(input.name, origin)});
    }
    s.type = default_type(program_, s);
    program_.statements.push_back(std::move(s));
  }

  ir::Program program_;
  std::vector<std::string> tensors_;
  std::vector<ir::Axis> axes_;
};

}  // namespace
}  // namespace quern

int main() {
  bool ok = rc::check("parsing the canonical text of a program gives the program back", [] {
    quern::ir::Program program = quern::Builder().build();
    quern::Result<void> checked = quern::ir::check(program);
    if (!checked) RC_FAIL(checked.error().message);
    std::string text = quern::print_task(program);
    quern::Result<quern::ir::Program> again = quern::parse_task(text, "t.task");
    if (!again) RC_FAIL(text + "\n" + again.error().message);
    if (!(*again == program)) RC_FAIL(text + "\n---- became\n" + quern::print_task(*again));
  });
  return ok ? 0 : 1;
}
