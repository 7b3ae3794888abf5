// SPDX-License-Identifier: Apache-2.0
#include "codegen/reference_printer.h"

#include <fmt/format.h>

#include <vector>

#include "ir/recurrence.h"

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Op;
using ir::Program;
using ir::Statement;

/// Prints the loops of one program over the scalar type `T` of the generated source.
class ReferencePrinter {
 public:
  /// `oracle`: over scalars that carry their error, not plain f32.
  explicit ReferencePrinter(const Program& program, bool oracle = false,
                            Contract contract = Contract::kFp32)
      : program_(program), oracle_(oracle), contract_(contract) {}

  /// A function of the free sizes that gives the number of elements of an output.
  std::string count_function(const Statement& output, const std::string& parameters) {
    line("[[maybe_unused]] inline long count_{}({}) {{", tensor_name(output.name), parameters);
    print_derived_sizes();
    line("  return {};", element_product(output.axes));
    line("}}");
    return std::move(out_);
  }

  /// Declarations of derived sizes and intermediates, then every statement in order.
  std::string body() {
    print_derived_sizes();
    for (const Statement& statement : program_.statements) {
      if (!statement.is_output) declare_intermediate(statement);
    }
    const std::vector<ir::Recurrence> loops = ir::recurrences(program_);
    for (int s = 0; s < static_cast<int>(program_.statements.size()); ++s) {
      if (const ir::Recurrence* loop = ir::recurrence_of(loops, s)) {
        print_recurrence(*loop);
        s = loop->last;
      } else {
        print_statement(program_.statements[static_cast<size_t>(s)]);
      }
    }
    return std::move(out_);
  }

 private:
  friend std::string quern::reference_index(const Program&, const IntExpr&);
  friend std::string quern::reference_offset(const Program&, const std::string&,
                                             const std::vector<IntExpr>&);
  friend std::string quern::reference_value(const Program&, const Expr&, bool);
  friend std::string quern::reference_accumulator(const Statement&);
  friend std::string quern::reference_rounded_term(const Program&, const Expr&);

  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    out_.append(2 * static_cast<size_t>(depth_), ' ');
    out_ += fmt::format(format, std::forward<Args>(args)...);
    out_ += '\n';
  }

  void print_derived_sizes() {
    for (const ir::SizeDecl& size : program_.sizes) {
      if (!size.let) continue;
      line("[[maybe_unused]] const long {} = {};", size_name(size.name), index(*size.let));
    }
  }

  static std::string element_type(const Statement& statement) {
    return is_float(statement.type) ? "T" : std::string(dtype_c_name(statement.type));
  }

  std::string element_product(const std::vector<ir::Axis>& axes) {
    std::string product = "1l";
    for (const ir::Axis& axis : axes) product += fmt::format(" * ({})", index(axis.extent));
    return product;
  }

  void declare_intermediate(const Statement& statement) {
    const std::string name = tensor_name(statement.name);
    line("static Buffer<{}> b{};", element_type(statement), name);
    line("{}* const {} = b{}.get({});", element_type(statement), name, name,
         element_product(statement.axes));
  }

  std::string index(const IntExpr& expr) {
    const auto infix = [&](const char* op) {
      return fmt::format("({} {} {})", index(expr.args[0]), op, index(expr.args[1]));
    };
    const auto call = [&](const char* function) {
      return fmt::format("{}({}, {})", function, index(expr.args[0]), index(expr.args[1]));
    };
    switch (expr.kind) {
      case IntExpr::Kind::kConstant:
        return fmt::format("{}l", expr.value);
      case IntExpr::Kind::kSize:
        return size_name(expr.name);
      case IntExpr::Kind::kAxis:
        return axis_name(expr.name);
      case IntExpr::Kind::kAdd:
        return infix("+");
      case IntExpr::Kind::kSub:
        return infix("-");
      case IntExpr::Kind::kMul:
        return infix("*");
      case IntExpr::Kind::kDiv:
        return call("floor_div");
      case IntExpr::Kind::kMod:
        return call("floor_mod");
      case IntExpr::Kind::kMin:
        return call("index_min");
      case IntExpr::Kind::kMax:
        return call("index_max");
      case IntExpr::Kind::kGather:
        return fmt::format("(long){}[{}]", tensor_name(expr.name), offset(expr.name, expr.args));
    }
    return "0";
  }

  /// Row-major offset of an element.
  std::string offset(const std::string& tensor, const std::vector<IntExpr>& indices) {
    const std::vector<IntExpr> shape = program_.shape_of(tensor);
    std::string text;
    for (size_t axis = 0; axis < indices.size(); ++axis) {
      text = axis == 0
                 ? index(indices[0])
                 : fmt::format("({}) * {} + {}", text, index(shape[axis]), index(indices[axis]));
    }
    return text.empty() ? "0" : text;
  }

  std::string load(const Expr& expr) {
    std::string value =
        fmt::format("fetch<T>({}, {})", tensor_name(expr.name), offset(expr.name, expr.indices));
    if (expr.args.empty()) return value;
    const std::vector<IntExpr> shape = program_.shape_of(expr.name);
    std::string inside;
    for (size_t axis = 0; axis < expr.indices.size(); ++axis) {
      inside += fmt::format("{}inside({}, {})", axis == 0 ? "" : " && ", index(expr.indices[axis]),
                            index(shape[axis]));
    }
    return fmt::format("({} ? {} : {})", inside, value, value_of(expr.args[0]));
  }

  static bool is_index(const Expr& expr) { return expr.kind == Expr::Kind::kIndex; }

  /// Text of type `T`, or `bool` for conditions.
  std::string value_of(const Expr& expr) {
    switch (expr.kind) {
      case Expr::Kind::kConstant:
        return fmt::format("constant<T>({})", literal(expr.value));
      case Expr::Kind::kIndex:
        return fmt::format("constant<T>((double)({}))", index(expr.indices[0]));
      case Expr::Kind::kLoad:
        return load(expr);
      case Expr::Kind::kOp:
        return operation(expr);
    }
    return "0";
  }

  static std::string literal(double value) {
    if (value != value) return "__builtin_nan(\"\")";
    if (value > 1.7e308) return "__builtin_inf()";
    if (value < -1.7e308) return "-__builtin_inf()";
    return fmt::format("{:a}", value);
  }

  std::string operation(const Expr& expr) {
    const ir::OpInfo& info = ir::op_info(expr.op);
    if (info.boolean || expr.op == Op::kSelect) return choice(expr, info);
    if (expr.op == Op::kNeg) return fmt::format("(-{})", value_of(expr.args[0]));
    if (info.infix && expr.args.size() == 2) {
      return fmt::format("({} {} {})", value_of(expr.args[0]), info.name, value_of(expr.args[1]));
    }
    std::string text = fmt::format("op_{}(", info.name);
    for (size_t i = 0; i < expr.args.size(); ++i) {
      text += fmt::format("{}{}", i == 0 ? "" : ", ", value_of(expr.args[i]));
    }
    return text + ")";
  }

  /// Conditions and selections. The oracle's go through functions that know whether a condition was
  /// exact; comparisons of indices always are.
  std::string choice(const Expr& expr, const ir::OpInfo& info) {
    const bool indices = expr.args.size() == 2 && is_index(expr.args[0]) && is_index(expr.args[1]);
    if (indices) {
      return fmt::format("({} {} {})", index(expr.args[0].indices[0]), comparison(expr.op),
                         index(expr.args[1].indices[0]));
    }
    std::vector<std::string> args;
    for (const Expr& arg : expr.args) args.push_back(value_of(arg));
    const auto lazy = [](const std::string& text) { return "[&] { return " + text + "; }"; };
    switch (expr.op) {
      case Op::kSelect:
        if (!oracle_) return fmt::format("({} ? {} : {})", args[0], args[1], args[2]);
        return fmt::format("op_select({}, {}, {})", args[0], lazy(args[1]), lazy(args[2]));
      case Op::kNot:
        return (oracle_ ? "op_not(" : "(!") + args[0] + ")";
      case Op::kAnd:
      case Op::kOr:
        if (!oracle_) {
          return fmt::format("({} {} {})", args[0], expr.op == Op::kAnd ? "&&" : "||", args[1]);
        }
        return fmt::format("op_{}({}, {})", info.name, args[0], lazy(args[1]));
      default:
        if (!oracle_) return fmt::format("({} {} {})", args[0], comparison(expr.op), args[1]);
        return fmt::format("op_{}({}, {})", comparison_name(expr.op), args[0], args[1]);
    }
  }

  /// The term of a sum whose operands may be rounded: its product is the one at the head.
  std::string rounded_term(const Expr& expr) {
    if (expr.op != Op::kSelect) {
      return fmt::format("tf32_product({}, {})", value_of(expr.args[0]), value_of(expr.args[1]));
    }
    return fmt::format("op_select({}, [&] {{ return {}; }}, [&] {{ return {}; }})",
                       value_of(expr.args[0]), rounded_term(expr.args[1]), value_of(expr.args[2]));
  }

  bool rounds(const Statement& statement) const {
    return rounds_operands(program_, statement.name, contract_);
  }

  static const char* comparison(Op op) {
    switch (op) {
      case Op::kLt:
        return "<";
      case Op::kLe:
        return "<=";
      case Op::kGt:
        return ">";
      case Op::kGe:
        return ">=";
      case Op::kEq:
        return "==";
      case Op::kNe:
        return "!=";
      case Op::kAnd:
        return "&&";
      default:
        return "||";
    }
  }
  static const char* comparison_name(Op op) {
    switch (op) {
      case Op::kLt:
        return "lt";
      case Op::kLe:
        return "le";
      case Op::kGt:
        return "gt";
      case Op::kGe:
        return "ge";
      case Op::kEq:
        return "eq";
      default:
        return "ne";
    }
  }

  void open_loop(const ir::Axis& axis, bool backwards = false) {
    const std::string name = axis_name(axis.name), extent = index(axis.extent);
    if (backwards) {
      line("for (long {0} = {1} - 1; {0} >= 0; --{0}) {{", name, extent);
    } else {
      line("for (long {0} = 0; {0} < {1}; ++{0}) {{", name, extent);
    }
    ++depth_;
  }
  /// A scope of its own where no loop makes one.
  void open_block() {
    line("{{");
    ++depth_;
  }
  void close_loops(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      --depth_;
      line("}}");
    }
  }

  /// The statements in turn at each position of the axis they share. One team of threads goes
  /// through all of it, and meets after each statement.
  void print_recurrence(const ir::Recurrence& recurrence) {
    const ir::Axis& axis = program_.statements[static_cast<size_t>(recurrence.first)]
                               .axes[static_cast<size_t>(recurrence.positions[0])];
    line("#pragma omp parallel");
    open_loop(axis, recurrence.backwards);
    step_axis_ = axis.name;
    for (int s = recurrence.first; s <= recurrence.last; ++s) {
      print_statement(program_.statements[static_cast<size_t>(s)]);
    }
    step_axis_.clear();
    close_loops(1);
  }

  /// The axes of a statement that its own loops run over.
  std::vector<ir::Axis> looped_axes(const Statement& statement) const {
    std::vector<ir::Axis> axes;
    for (const ir::Axis& axis : statement.axes) {
      if (axis.name != step_axis_) axes.push_back(axis);
    }
    return axes;
  }

  /// Shares the next so many loops among threads; those of a recurrence exist already, and one of
  /// them does what has no loops.
  void share_loops(size_t count) {
    const std::string words = step_axis_.empty() ? "parallel for" : "for";
    if (count == 0 && !step_axis_.empty()) line("#pragma omp single");
    if (count == 1) line("#pragma omp {}", words);
    if (count > 1) line("#pragma omp {} collapse({})", words, count);
  }

  /// Parallel over all but the innermost axis, so that the compiler still sees a plain inner loop.
  void open_spatial(const std::vector<ir::Axis>& axes) {
    share_loops(axes.size() > 1 ? axes.size() - 1 : axes.size());
    for (const ir::Axis& axis : axes) open_loop(axis);
    if (axes.empty()) open_block();
  }

  std::vector<IntExpr> point(const Statement& statement) {
    std::vector<IntExpr> indices;
    for (const ir::Axis& axis : statement.axes) indices.push_back(ir::int_axis(axis.name));
    return indices;
  }

  void print_statement(const Statement& statement) {
    line("// {}", statement.name);
    switch (statement.kind) {
      case Statement::Kind::kMap:
        return print_map(statement);
      case Statement::Kind::kReduce:
        return print_reduce(statement);
      case Statement::Kind::kScan:
        return print_scan(statement);
    }
  }

  void store(const Statement& statement, std::string value) {
    // Integers are computed in the scalar type; a position is one from the start.
    if (!is_float(statement.type) && !is_arg(statement))
      value = fmt::format("to_double({})", value);
    line("{}[{}] = ({})({});", tensor_name(statement.name),
         offset(statement.name, point(statement)), element_type(statement), value);
  }

  void print_map(const Statement& statement) {
    const std::vector<ir::Axis> axes = looped_axes(statement);
    open_spatial(axes);
    store(statement, value_of(statement.body));
    close_loops(axes.empty() ? 1 : axes.size());
  }

  static bool is_arg(const Statement& statement) {
    return statement.monoid == ir::Monoid::kArgMax || statement.monoid == ir::Monoid::kArgMin;
  }

  static std::string accumulator(const Statement& statement) {
    switch (statement.monoid) {
      case ir::Monoid::kSum:
        return "SumAccumulator<T>";
      case ir::Monoid::kProd:
        return "ProdAccumulator<T>";
      case ir::Monoid::kMax:
        return "MaxAccumulator<T>";
      case ir::Monoid::kMin:
        return "MinAccumulator<T>";
      case ir::Monoid::kArgMax:
        return "ArgOf<T, true>";
      case ir::Monoid::kArgMin:
        return "ArgOf<T, false>";
    }
    return "";
  }

  void print_reduce(const Statement& statement) {
    const std::vector<ir::Axis> axes = looped_axes(statement);
    if (oracle_ && !axes.empty()) return print_tiled_reduce(statement, axes);
    open_spatial(axes);
    line("{} acc;", accumulator(statement));
    print_terms(statement, "acc");
    store(statement, "acc.result()");
    close_loops(axes.empty() ? 1 : axes.size());
  }

  /// The loops over the reduced axes, adding to `accumulator`.
  void print_terms(const Statement& statement, const std::string& accumulator) {
    for (const ir::Axis& axis : statement.reduce_axes) open_loop(axis);
    const std::string value = value_of(statement.body);
    if (is_arg(statement)) {
      line("{}.add({}, {});", accumulator, value, axis_name(statement.reduce_axes[0].name));
    } else {
      line("{}.add({});", accumulator, value);
    }
    close_loops(statement.reduce_axes.size());
  }

  /// The oracle takes a strip of the innermost axis through the reduced axes together: operands
  /// that are contiguous along it are then read in order. Each element still sees its terms in the
  /// order of the definition.
  void print_tiled_reduce(const Statement& statement, std::vector<ir::Axis> outer) {
    const ir::Axis inner = outer.back();
    outer.pop_back();
    const std::string name = axis_name(inner.name);
    share_loops(outer.size() + 1);
    for (const ir::Axis& axis : outer) open_loop(axis);
    line("for (long {0}_0 = 0; {0}_0 < {1}; {0}_0 += kStrip) {{", name, index(inner.extent));
    ++depth_;
    line("const long {0}_1 = index_min({0}_0 + kStrip, {1});", name, index(inner.extent));
    line("{} acc[kStrip];",
         rounds(statement) ? kRoundedAccumulator : accumulator(statement).c_str());
    for (const ir::Axis& axis : statement.reduce_axes) open_loop(axis);
    line("for (long {0} = {0}_0; {0} < {0}_1; ++{0}) {{", name);
    ++depth_;
    const std::string value =
        rounds(statement) ? rounded_term(statement.body) : value_of(statement.body);
    const std::string position =
        is_arg(statement) ? ", " + axis_name(statement.reduce_axes[0].name) : "";
    line("acc[{0} - {0}_0].add({1}{2});", name, value, position);
    close_loops(1 + statement.reduce_axes.size());
    line("for (long {0} = {0}_0; {0} < {0}_1; ++{0}) {{", name);
    ++depth_;
    if (is_arg(statement) && statement.is_output) {
      line("u_{}[{}] = !acc[{} - {}_0].certain();", tensor_name(statement.name),
           offset(statement.name, point(statement)), name, name);
    }
    store(statement, fmt::format("acc[{0} - {0}_0].result()", name));
    close_loops(2 + outer.size());
  }

  void print_scan(const Statement& statement) {
    std::vector<ir::Axis> others = statement.axes;
    const ir::Axis along = others[static_cast<size_t>(statement.scan_axis)];
    others.erase(others.begin() + statement.scan_axis);
    share_loops(others.size());
    for (const ir::Axis& axis : others) open_loop(axis);
    if (others.empty()) open_block();
    line("{} acc;", accumulator(statement));
    open_loop(along, statement.reverse);
    if (statement.exclusive) store(statement, "acc.result()");
    line("acc.add({});", value_of(statement.body));
    if (!statement.exclusive) store(statement, "acc.result()");
    close_loops(1 + (others.empty() ? 1 : others.size()));
  }

  const Program& program_;
  bool oracle_ = false;
  Contract contract_ = Contract::kFp32;
  std::string step_axis_;  ///< of the recurrence whose statements are printed; "" outside
  std::string out_;
  int depth_ = 1;
};

}  // namespace

std::string tensor_name(const std::string& name) { return "t_" + name; }
std::string axis_name(const std::string& name) { return "i_" + name; }
std::string size_name(const std::string& name) { return "n_" + name; }

std::string reference_body(const Program& program, bool oracle, Contract contract) {
  return ReferencePrinter(program, oracle, contract).body();
}

std::string reference_count(const Program& program, const Statement& output,
                            const std::string& parameters) {
  return ReferencePrinter(program).count_function(output, parameters);
}

std::string reference_index(const Program& program, const IntExpr& expr) {
  return ReferencePrinter(program).index(expr);
}

std::string reference_offset(const Program& program, const std::string& tensor,
                             const std::vector<IntExpr>& indices) {
  return ReferencePrinter(program).offset(tensor, indices);
}

std::string reference_value(const Program& program, const Expr& expr, bool oracle) {
  return ReferencePrinter(program, oracle).value_of(expr);
}

std::string reference_accumulator(const Statement& statement) {
  return ReferencePrinter::accumulator(statement);
}

std::string reference_rounded_term(const Program& program, const Expr& body) {
  return ReferencePrinter(program, true).rounded_term(body);
}

}  // namespace quern
