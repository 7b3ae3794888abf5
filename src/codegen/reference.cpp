// SPDX-License-Identifier: Apache-2.0
#include "codegen/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

/// The scalar types of the oracle, ir/scalar.h as text: generated oracles carry them along.
extern "C" const char quern_scalar_header[];

namespace quern {
namespace {

using ir::Expr;
using ir::IntExpr;
using ir::Op;
using ir::Program;
using ir::Statement;

// Names of a task may be C++ keywords or ours, so every kind of name has its own prefix.
std::string tensor_name(const std::string& name) { return "t_" + name; }
std::string size_name(const std::string& name) { return "n_" + name; }
std::string axis_name(const std::string& name) { return "i_" + name; }

/// Prints the loops of one program over the scalar type `T` of the generated source.
class ReferencePrinter {
 public:
  /// `oracle`: over scalars that carry their error, not plain f32.
  explicit ReferencePrinter(const Program& program, bool oracle = false)
      : program_(program), oracle_(oracle) {}

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
    for (const Statement& statement : program_.statements) print_statement(statement);
    return std::move(out_);
  }

 private:
  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    out_.append(static_cast<size_t>(2 * depth_), ' ');
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
    const std::string value =
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
        return fmt::format(oracle_ ? "op_not({})" : "(!{})", args[0]);
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

  void open_loop(const ir::Axis& axis) {
    line("for (long {0} = 0; {0} < {1}; ++{0}) {{", axis_name(axis.name), index(axis.extent));
    ++depth_;
  }
  void close_loops(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      --depth_;
      line("}}");
    }
  }

  /// Parallel over all but the innermost axis, so that the compiler still sees a plain inner loop.
  void open_spatial(const std::vector<ir::Axis>& axes) {
    if (axes.size() == 1) line("#pragma omp parallel for");
    if (axes.size() > 1) {
      line("#pragma omp parallel for collapse({})", axes.size() - 1);
    }
    for (const ir::Axis& axis : axes) open_loop(axis);
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

  void store(const Statement& statement, const std::string& value) {
    line("{}[{}] = ({})({});", tensor_name(statement.name),
         offset(statement.name, point(statement)), element_type(statement), value);
  }

  void print_map(const Statement& statement) {
    open_spatial(statement.axes);
    if (is_float(statement.type)) {
      store(statement, value_of(statement.body));
    } else {
      store(statement, fmt::format("to_double({})", value_of(statement.body)));
    }
    close_loops(statement.axes.size());
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
    open_spatial(statement.axes);
    line("{} acc;", accumulator(statement));
    for (const ir::Axis& axis : statement.reduce_axes) open_loop(axis);
    const std::string value = value_of(statement.body);
    if (is_arg(statement)) {
      line("acc.add({}, {});", value, axis_name(statement.reduce_axes[0].name));
    } else {
      line("acc.add({});", value);
    }
    close_loops(statement.reduce_axes.size());
    if (is_arg(statement) && oracle_ && statement.is_output) {
      line("u_{}[{}] = !acc.certain();", tensor_name(statement.name),
           offset(statement.name, point(statement)));
    }
    store(statement, "acc.result()");
    close_loops(statement.axes.size());
  }

  void print_scan(const Statement& statement) {
    std::vector<ir::Axis> others = statement.axes;
    const ir::Axis along = others[static_cast<size_t>(statement.scan_axis)];
    others.erase(others.begin() + statement.scan_axis);
    if (others.size() == 1) line("#pragma omp parallel for");
    if (others.size() > 1) line("#pragma omp parallel for collapse({})", others.size());
    for (const ir::Axis& axis : others) open_loop(axis);
    line("{} acc;", accumulator(statement));
    const std::string name = axis_name(along.name);
    if (statement.reverse) {
      line("for (long {0} = {1} - 1; {0} >= 0; --{0}) {{", name, index(along.extent));
    } else {
      line("for (long {0} = 0; {0} < {1}; ++{0}) {{", name, index(along.extent));
    }
    ++depth_;
    if (statement.exclusive) store(statement, "acc.result()");
    line("acc.add({});", value_of(statement.body));
    if (!statement.exclusive) store(statement, "acc.result()");
    close_loops(1 + others.size());
  }

  const Program& program_;
  bool oracle_ = false;
  std::string out_;
  int depth_ = 1;
};

/// "long n_batch, …, const float* t_x, …": the arguments every entry point begins with.
std::string leading_parameters(const Program& program) {
  std::string text;
  const auto add = [&](const std::string& parameter) {
    text += (text.empty() ? "" : ", ") + parameter;
  };
  for (const std::string& size : program.free_sizes()) add("long " + size_name(size));
  for (const ir::InputDecl& input : program.inputs) {
    add(fmt::format("const {}* {}", dtype_c_name(input.type), tensor_name(input.name)));
  }
  return text;
}

std::string leading_arguments(const Program& program) {
  std::string text;
  for (const std::string& size : program.free_sizes()) text += size_name(size) + ", ";
  for (const ir::InputDecl& input : program.inputs) text += tensor_name(input.name) + ", ";
  return text;
}

std::string size_parameters(const Program& program) {
  std::string text;
  for (const std::string& size : program.free_sizes()) {
    text += (text.empty() ? "long " : ", long ") + size_name(size);
  }
  return text;
}

std::string size_arguments(const Program& program) {
  std::string text;
  for (const std::string& size : program.free_sizes()) {
    text += (text.empty() ? "" : ", ") + size_name(size);
  }
  return text;
}

std::string separator(const std::string& text) { return text.empty() ? "" : ", "; }

/// Helpers common to both lowerings; `T` is a template parameter or an alias.
constexpr const char* kIndexHelpers = R"code(
template <class E> struct Buffer {
  E* data = nullptr;
  long size = 0;
  E* get(long count) {
    if (count > size) {
      std::free(data);
      data = static_cast<E*>(std::malloc(sizeof(E) * static_cast<unsigned long>(count)));
      if (data == nullptr) std::abort();
      size = count;
    }
    return data;
  }
};
inline long floor_div(long a, long b) { return a / b - ((a % b != 0) & ((a < 0) != (b < 0))); }
inline long floor_mod(long a, long b) { return a - b * floor_div(a, b); }
inline long index_min(long a, long b) { return a < b ? a : b; }
inline long index_max(long a, long b) { return a > b ? a : b; }
inline bool inside(long index, long extent) { return index >= 0 && index < extent; }
)code";

constexpr const char* kNaivePreamble = R"code(
typedef float T;
template <class U> inline U constant(double v) { return static_cast<U>(v); }
template <class U, class E> inline U fetch(const E* p, long i) { return static_cast<U>(p[i]); }
inline float to_double(float v) { return v; }
inline float op_abs(float v) { return std::fabs(v); }
inline float op_exp(float v) { return std::exp(v); }
inline float op_log(float v) { return std::log(v); }
inline float op_log1p(float v) { return std::log1p(v); }
inline float op_expm1(float v) { return std::expm1(v); }
inline float op_sqrt(float v) { return std::sqrt(v); }
inline float op_rsqrt(float v) { return 1.0f / std::sqrt(v); }
inline float op_tanh(float v) { return std::tanh(v); }
inline float op_erf(float v) { return std::erf(v); }
inline float op_sin(float v) { return std::sin(v); }
inline float op_cos(float v) { return std::cos(v); }
inline float op_floor(float v) { return std::floor(v); }
inline float op_sign(float v) { return v > 0 ? 1.0f : v < 0 ? -1.0f : 0.0f; }
inline float op_pow(float a, float b) { return std::pow(a, b); }
inline float op_max(float a, float b) { return a > b ? a : b; }
inline float op_min(float a, float b) { return a < b ? a : b; }
template <class U> struct SumAccumulator { U v = 0; void add(U x) { v += x; } U result() const { return v; } };
template <class U> struct ProdAccumulator { U v = 1; void add(U x) { v *= x; } U result() const { return v; } };
template <class U> struct MaxAccumulator { U v = -__builtin_inff(); void add(U x) { v = x > v ? x : v; } U result() const { return v; } };
template <class U> struct MinAccumulator { U v = __builtin_inff(); void add(U x) { v = x < v ? x : v; } U result() const { return v; } };
template <class U, bool largest> struct ArgOf {
  U v = largest ? -__builtin_inff() : __builtin_inff();
  long at = 0;
  void add(U x, long i) { if (largest ? x > v : x < v) { v = x; at = i; } }
  long result() const { return at; }
};
)code";

}  // namespace

std::string emit_naive(const Program& program) {
  std::string parameters = leading_parameters(program);
  for (const Statement* output : program.outputs()) {
    parameters += fmt::format("{}{}* {}", separator(parameters), dtype_c_name(output->type),
                              tensor_name(output->name));
  }
  std::string body = ReferencePrinter(program).body();
  return fmt::format(
      "// quern: entry = {0}\n"
      "// The naive lowering of {0}: one output element at a time, no transformation.\n"
      "#include <cmath>\n#include <cstdlib>\n\nnamespace {{{1}{2}}}  // namespace\n\n"
      "extern \"C\" void {0}({3}) {{\n{4}}}\n",
      program.name, kIndexHelpers, kNaivePreamble, parameters, body);
}

namespace {

/// What the oracle needs beside ir/scalar.h: how elements are read, and the split of scalars into
/// the value and scale arrays of an output.
constexpr const char* kOraclePreamble = R"code(
using namespace quern;
template <class U> inline U constant(double v) { return U(v); }
template <class U, class E> inline U fetch(const E* p, long i) {
  if constexpr (std::is_same_v<U, E>) {
    return p[i];
  } else {
    return U(static_cast<double>(p[i]));
  }
}
inline double scale_of(RunningError x) { return x.e; }
inline double scale_of(Exact x) { return x.ok ? 0 : 1; }
inline double slack_of(RunningError x) { return 16 * 0x1p-24 * x.e; }
inline double slack_of(Exact x) { return x.ok ? 0 : __builtin_inf(); }
/// Position of the largest (or smallest) element, the first of equals. `certain`: no rounding of
/// the elements could have changed it.
template <class U, bool largest> struct ArgOf {
  double best = -__builtin_inf(), best_slack = 0, rival = -__builtin_inf();
  long at = 0;
  bool rounded = false;
  void challenge(double value, double slack) {
    rounded = rounded || slack > 0;
    if (value + slack > rival) rival = value + slack;
  }
  void add(U x, long i) {
    const double value = largest ? to_double(x) : -to_double(x), slack = slack_of(x);
    if (value > best) {
      challenge(best, best_slack);
      best = value, best_slack = slack, at = i;
    } else {
      challenge(value, slack);
    }
  }
  long result() const { return at; }
  bool certain() const { return (best_slack == 0 && !rounded) || best - best_slack > rival; }
};
)code";

/// One `extern "C"` entry point over scalar type `scalar`.
std::string oracle_entry(const Program& program, const std::string& entry,
                         const std::string& scalar, const std::string& uncertain) {
  std::string parameters = leading_parameters(program);
  std::string before, arguments = leading_arguments(program), after;
  bool first = true;
  for (const Statement* output : program.outputs()) {
    const std::string name = tensor_name(output->name);
    parameters += fmt::format("{}double* v_{}, double* s_{}", separator(parameters), name, name);
    const std::string type =
        is_float(output->type) ? scalar : std::string(dtype_c_name(output->type));
    before +=
        fmt::format("  static Buffer<{0}> b_{1};\n  {0}* const {1} = b_{1}.get(count_{1}({2}));\n",
                    type, name, size_arguments(program));
    before += fmt::format("  for (long i = 0; i < count_{0}({1}); ++i) s_{0}[i] = 0;\n", name,
                          size_arguments(program));
    arguments += fmt::format("{}{}, s_{}", first ? "" : ", ", name, name);
    first = false;
    after += fmt::format("  for (long i = 0; i < count_{}({}); ++i) {{\n", name,
                         size_arguments(program));
    if (is_float(output->type)) {
      after += fmt::format("    v_{0}[i] = to_double({0}[i]);\n    s_{0}[i] = scale_of({0}[i]);\n",
                           name);
    } else {
      after +=
          fmt::format("    v_{0}[i] = (double){0}[i];\n    if (s_{0}[i] != 0) s_{0}[i] = {1};\n",
                      name, uncertain);
    }
    after += "  }\n";
  }
  return fmt::format("extern \"C\" void {}({}) {{\n{}  program<{}>({});\n{}}}\n\n", entry,
                     parameters, before, scalar, arguments, after);
}

/// `count_t_y(sizes…)`: how many elements an output has.
std::string oracle_counts(const Program& program) {
  std::string text;
  for (const Statement* output : program.outputs()) {
    text += ReferencePrinter(program).count_function(*output, size_parameters(program));
  }
  return text;
}

}  // namespace

std::string emit_oracle(const Program& program) {
  std::string parameters = leading_parameters(program);
  for (const Statement* output : program.outputs()) {
    const std::string name = tensor_name(output->name);
    const std::string type = is_float(output->type) ? "T" : std::string(dtype_c_name(output->type));
    parameters += fmt::format("{}{}* {}, double* u_{}", separator(parameters), type, name, name);
  }
  const std::string body = ReferencePrinter(program, true).body();
  return fmt::format(
      "// The oracle of task {}: its naive lowering over scalars that carry their error.\n"
      "#include <cstdlib>\n{}\nnamespace {{{}{}{}\ntemplate <class T>\nvoid program({}) {{\n{}}}\n"
      "}}  // namespace\n\n{}{}",
      program.name, std::string(quern_scalar_header), kIndexHelpers, kOraclePreamble,
      oracle_counts(program), parameters, body,
      oracle_entry(program, "oracle_bound", "RunningError", "__builtin_inf()"),
      oracle_entry(program, "oracle_exact", "Exact", "1"));
}

}  // namespace quern
