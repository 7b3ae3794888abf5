// SPDX-License-Identifier: Apache-2.0
#include "codegen/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/strings.h"
#include "codegen/reference_printer.h"

/// The scalar types of the oracle, ir/scalar.h as text: generated oracles carry them along.
extern "C" const char kQuernScalarHeader[];
extern "C" const char kQuernShakenHeader[];

namespace quern {
namespace {

using ir::Program;
using ir::Statement;

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

/// The free sizes, each behind `type`: "long " for parameters, nothing for arguments.
std::string size_list(const Program& program, const std::string& type = "") {
  std::string text;
  for (const std::string& size : program.free_sizes()) {
    text += (text.empty() ? "" : ", ") + type + size_name(size);
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

constexpr const char* kWide = R"code(
template <class U> struct WideOf { typedef U type; };
template <> struct WideOf<float> { typedef double type; };
template <class U> using Wide = typename WideOf<U>::type;)code";

std::string naive_source(const Program& program, const std::string& preamble) {
  std::string parameters = leading_parameters(program);
  for (const Statement* output : program.outputs()) {
    parameters += fmt::format("{}{}* {}", separator(parameters), dtype_c_name(output->type),
                              tensor_name(output->name));
  }
  std::string body = reference_body(program, false);
  return fmt::format(
      "// quern: entry = {0}\n"
      "// The naive lowering of {0}: one output element at a time, no transformation.\n"
      "#include <cmath>\n#include <cstdlib>\n\nnamespace {{{1}{2}}}  // namespace\n\n"
      "extern \"C\" void {0}({3}) {{\n{4}}}\n",
      program.name, kIndexHelpers, preamble, parameters, body);
}

}  // namespace

std::string emit_naive(const Program& program) { return naive_source(program, kNaivePreamble); }

std::string emit_naive_wide(const Program& program) {
  std::string preamble = kNaivePreamble;
  for (const char* kind : {"Sum", "Prod"}) {
    const std::string head = fmt::format("struct {}Accumulator {{ ", kind);
    preamble = replace_all(preamble, head + "U v", head + "Wide<U> v");
  }
  return naive_source(program, kWide + preamble);
}

int64_t longest_reduction(const Program& program, const ir::Sizes& sizes) {
  int64_t longest = 0;
  for (const Statement& statement : program.statements) {
    if (statement.monoid != ir::Monoid::kSum && statement.monoid != ir::Monoid::kProd) continue;
    if (statement.kind == Statement::Kind::kMap) continue;
    int64_t terms = 1;
    if (statement.kind == Statement::Kind::kScan) {
      terms = ir::evaluate(statement.axes[static_cast<size_t>(statement.scan_axis)].extent, sizes);
    }
    for (const ir::Axis& axis : statement.reduce_axes) terms *= ir::evaluate(axis.extent, sizes);
    longest = std::max(longest, terms);
  }
  return longest;
}

std::string emit_naive_double(const Program& program) {
  Program wide = program;
  for (ir::InputDecl& input : wide.inputs) {
    if (input.type == DType::kF32) input.type = DType::kF64;
  }
  for (Statement& statement : wide.statements) {
    if (statement.type == DType::kF32) statement.type = DType::kF64;
  }
  return naive_source(wide, replace_all(kNaivePreamble, "float", "double"));
}

namespace {

/// What the oracle needs beside ir/scalar.h: how elements are read, and the split of scalars into
/// the value and scale arrays of an output.
constexpr const char* kOraclePreamble = R"code(
using namespace quern;
constexpr long kStrip = 32;
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
                    type, name, size_list(program));
    before += fmt::format("  for (long i = 0; i < count_{0}({1}); ++i) s_{0}[i] = 0;\n", name,
                          size_list(program));
    arguments += fmt::format("{}{}, s_{}", first ? "" : ", ", name, name);
    first = false;
    after +=
        fmt::format("  for (long i = 0; i < count_{}({}); ++i) {{\n", name, size_list(program));
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
    text += reference_count(program, *output, size_list(program, "long "));
  }
  return text;
}

}  // namespace

namespace {

/// The lowering as a function template over the scalar, behind its scalars and helpers. `own`: what
/// these scalars need before the helpers of all.
std::string oracle_template(const Program& program, const std::string& scalars,
                            const std::string& own, Contract contract) {
  std::string parameters = leading_parameters(program);
  for (const Statement* output : program.outputs()) {
    const std::string name = tensor_name(output->name);
    const std::string type = is_float(output->type) ? "T" : std::string(dtype_c_name(output->type));
    parameters += fmt::format("{}{}* {}, double* u_{}", separator(parameters), type, name, name);
  }
  return fmt::format(
      "// The oracle of task {}: its naive lowering over scalars that carry their error.\n"
      "#include <cstdlib>\n{}\nnamespace {{{}{}{}{}\ntemplate <class T>\nvoid program({}) "
      "{{\n{}}}\n"
      "}}  // namespace\n\n",
      program.name, scalars, kIndexHelpers, own, kOraclePreamble, oracle_counts(program),
      parameters, reference_body(program, true, contract));
}

constexpr int kShakes = 4;

/// `oracle_shaken`: evaluation 0 is the value, the others add up the squares of their distance.
std::string shaken_entry(const Program& program) {
  std::string parameters = leading_parameters(program);
  std::string before, arguments = leading_arguments(program), after, last;
  for (const Statement* output : program.outputs()) {
    const std::string name = tensor_name(output->name);
    const std::string count = fmt::format("count_{}({})", name, size_list(program));
    parameters += fmt::format("{}double* v_{}, double* s_{}", separator(parameters), name, name);
    const std::string type =
        is_float(output->type) ? "Shaken" : std::string(dtype_c_name(output->type));
    before += fmt::format(
        "  static Buffer<{0}> b_{1};\n  static Buffer<double> c_{1};\n"
        "  {0}* const {1} = b_{1}.get({2});\n  double* const u_{1} = c_{1}.get({2});\n",
        type, name, count);
    arguments +=
        fmt::format("{}{}, u_{}", output == program.outputs().front() ? "" : ", ", name, name);
    const std::string value =
        is_float(output->type) ? "to_double(" + name + "[i])" : "(double)" + name + "[i]";
    after += fmt::format(
        "    for (long i = 0; i < {1}; ++i) {{\n      const double z = {2};\n"
        "      if (shake == 0) v_{0}[i] = z, s_{0}[i] = 0;\n      else if (z != v_{0}[i]) "
        "s_{0}[i] += {3};\n    }}\n",
        name, count, value,
        is_float(output->type) ? fmt::format("(z - v_{0}[i]) * (z - v_{0}[i])", name) : "0");
    last += fmt::format(
        "  for (long i = 0; i < {1}; ++i) s_{0}[i] = std::sqrt(s_{0}[i] / {2}) * 0x1p24;\n", name,
        count, kShakes);
  }
  return fmt::format(
      "extern \"C\" void oracle_shaken({}) {{\n{}  for (int shake = 0; shake <= {}; ++shake) {{\n"
      "    shake_seed = shake;\n    program<Shaken>({});\n{}  }}\n{}}}\n",
      parameters, before, kShakes, arguments, after, last);
}

}  // namespace

std::string emit_oracle(const Program& program, Contract contract) {
  return oracle_template(program, kQuernScalarHeader, "", contract) +
         oracle_entry(program, "oracle_bound", "RunningError", "__builtin_inf()") +
         oracle_entry(program, "oracle_exact", "Exact", "1");
}

std::string emit_shaken_oracle(const Program& program, Contract contract) {
  // The second header stands behind the first in one file.
  const std::string scalars =
      kQuernScalarHeader + replace_all(kQuernShakenHeader, "#include \"ir/scalar.h\"", "");
  return oracle_template(program, scalars, "inline double slack_of(quern::Shaken) { return 0; }",
                         contract) +
         shaken_entry(program);
}

}  // namespace quern
