// SPDX-License-Identifier: Apache-2.0
#include "codegen/device_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codegen/group.h"
#include "ir/spell.h"

namespace quern {

using ir::Expr;
using ir::IntExpr;
using ir::Op;
using ir::Program;
using ir::Statement;
using Kind = IntExpr::Kind;

namespace {

bool is_index(const Expr& expr) { return expr.kind == Expr::Kind::kIndex; }

constexpr ir::IntSpelling kDevice = {
    "q_floordiv((q_int)({}), (q_int)({}))", "q_mod((q_int)({}), (q_int)({}))",
    "q_imin((q_int)({}), (q_int)({}))", "q_imax((q_int)({}), (q_int)({}))"};
constexpr ir::IntSpelling kPreprocessor = {"({} / {})", "({} % {})", "({0} < {1} ? {0} : {1})",
                                           "({0} > {1} ? {0} : {1})"};

std::string comparison(const std::string& op, const std::string& a, const std::string& b) {
  return "(" + a + " " + op + " " + b + ")";
}

/// A size expression for the preprocessor, which knows free sizes as `QUERN_SIZE_<name>`.
std::string preprocessor(const IntExpr& expr) {
  if (expr.kind == Kind::kConstant) return std::to_string(expr.value);
  if (expr.kind == Kind::kSize) return "QUERN_SIZE_" + expr.name;
  return ir::spell(expr.kind, kPreprocessor, preprocessor(expr.args[0]),
                   preprocessor(expr.args[1]));
}

std::vector<IntExpr> extents(const std::vector<ir::Axis>& axes) {
  std::vector<IntExpr> found;
  for (const ir::Axis& axis : axes) found.push_back(axis.extent);
  return found;
}

IntExpr product(const Program& program, const std::vector<IntExpr>& factors) {
  IntExpr total = ir::int_constant(1);
  for (const IntExpr& factor : factors) total = std::move(total) * without_lets(program, factor);
  return total;
}

/// Everything that an index can count: elements of tensors and terms of reductions.
std::vector<IntExpr> counted(const Program& program) {
  std::vector<IntExpr> counts;
  auto add = [&](IntExpr count) {
    if (std::find(counts.begin(), counts.end(), count) == counts.end()) {
      counts.push_back(std::move(count));
    }
  };
  for (const ir::InputDecl& input : program.inputs) add(product(program, input.shape));
  for (const Statement& statement : program.statements) {
    add(product(program, extents(statement.axes)));
    add(product(program, extents(statement.reduce_axes)));
  }
  return counts;
}

DType type_of(const Program& program, const std::string& tensor,
              const std::vector<DeviceScratch>& scratch) {
  for (const DeviceScratch& own : scratch) {
    if (own.name == tensor) return own.type;
  }
  return program.type_of(tensor);
}

std::string plan_shape(const std::vector<IntExpr>& shape) {
  if (shape.empty()) return "1";
  std::string text;
  for (const IntExpr& extent : shape) text += (text.empty() ? "" : ", ") + ir::print(extent);
  return text;
}

}  // namespace

std::string_view device_language_name(DeviceLanguage language) {
  return language == DeviceLanguage::kCuda ? "cuda" : "opencl";
}

std::string DeviceText::index(const IntExpr& expr) const {
  switch (expr.kind) {
    case Kind::kConstant:
      return std::abs(expr.value) < (int64_t{1} << 31) ? std::to_string(expr.value)
                                                       : std::to_string(expr.value) + "L";
    case Kind::kSize:
      return size_id(expr.name);
    case Kind::kAxis:
      return axis_id(expr.name);
    case Kind::kGather:
      return fmt::format("(q_int){}[{}]", tensor_id(expr.name), offset(expr.name, expr.args));
    default:
      return ir::spell(expr.kind, kDevice, index(expr.args[0]), index(expr.args[1]));
  }
}

std::string DeviceText::offset(const std::string& tensor,
                               const std::vector<IntExpr>& indices) const {
  return index(flat_offset(program_.shape_of(tensor), indices));
}

std::string DeviceText::literal(double value) const {
  if (std::isnan(value)) return "Q_NAN";
  if (std::isinf(value)) return value > 0 ? "Q_INFINITY" : "-Q_INFINITY";
  const double narrow = static_cast<double>(static_cast<float>(value));
  if (!wide_ && !std::isinf(narrow)) return fmt::format("{:a}f", narrow);
  return wide_ ? fmt::format("{:a}", value) : (value > 0 ? "Q_INFINITY" : "-Q_INFINITY");
}

std::string DeviceText::load(const Expr& expr) const {
  if (resolve_) {
    if (std::optional<std::string> known = resolve_(expr)) return *known;
  }
  std::string value = tensor_id(expr.name) + "[" + offset(expr.name, expr.indices) + "]";
  const DType type = program_.type_of(expr.name);
  if (dtype_c_name(type) != scalar()) value = fmt::format("({}){}", scalar(), value);
  if (expr.args.empty()) return value;
  const std::vector<IntExpr> shape = program_.shape_of(expr.name);
  std::string inside;
  for (size_t axis = 0; axis < expr.indices.size(); ++axis) {
    inside += fmt::format("{}q_inside((q_int)({}), (q_int)({}))", axis == 0 ? "" : " && ",
                          index(expr.indices[axis]), index(shape[axis]));
  }
  return fmt::format("({} ? {} : {})", inside, value, this->value(expr.args[0]));
}

std::string DeviceText::value(const Expr& expr) const {
  switch (expr.kind) {
    case Expr::Kind::kConstant:
      return literal(expr.value);
    case Expr::Kind::kIndex:
      return fmt::format("(({})({}))", scalar(), index(expr.indices[0]));
    case Expr::Kind::kLoad:
      return load(expr);
    case Expr::Kind::kOp:
      return operation(expr);
  }
  return "0";
}

std::string DeviceText::operation(const Expr& expr) const {
  const ir::OpInfo& info = ir::op_info(expr.op);
  if (expr.op == Op::kSelect) {
    return fmt::format("({} ? {} : {})", value(expr.args[0]), value(expr.args[1]),
                       value(expr.args[2]));
  }
  if (expr.op == Op::kNot) return "(!" + value(expr.args[0]) + ")";
  if (expr.op == Op::kNeg) return "(-" + value(expr.args[0]) + ")";
  if (expr.op == Op::kAnd) return comparison("&&", value(expr.args[0]), value(expr.args[1]));
  if (expr.op == Op::kOr) return comparison("||", value(expr.args[0]), value(expr.args[1]));
  if (info.boolean && is_index(expr.args[0]) && is_index(expr.args[1])) {
    return comparison(info.name, index(expr.args[0].indices[0]), index(expr.args[1].indices[0]));
  }
  if (info.infix && expr.args.size() == 2) {
    return comparison(info.name, value(expr.args[0]), value(expr.args[1]));
  }
  std::string text = fmt::format("q_{}(", info.name);
  for (size_t i = 0; i < expr.args.size(); ++i) {
    text += (i == 0 ? "" : ", ") + value(expr.args[i]);
  }
  return text + ")";
}

bool computed_wide(const Program& program, const Statement& statement) {
  if (statement.type == DType::kF32) return false;
  const bool position =
      statement.kind == Statement::Kind::kReduce &&
      (statement.monoid == ir::Monoid::kArgMax || statement.monoid == ir::Monoid::kArgMin);
  const std::vector<const Expr*> loads = ir::loads_of(statement.body);
  return !position || std::any_of(loads.begin(), loads.end(), [&](const Expr* load) {
    return program.type_of(load->name) != DType::kF32;
  });
}

Error misfit(const std::string& what, const std::string& hint) {
  return Error{ErrorKind::kInput, what, hint};
}

IntExpr without_lets(const Program& program, const IntExpr& expr) {
  if (expr.kind == Kind::kSize) {
    for (const ir::SizeDecl& size : program.sizes) {
      if (size.name == expr.name && size.let) return without_lets(program, *size.let);
    }
    return expr;
  }
  if (expr.args.size() != 2) return expr;
  return ir::int_binary(expr.kind, without_lets(program, expr.args[0]),
                        without_lets(program, expr.args[1]));
}

IntExpr element_product(const Program& program, const std::vector<ir::Axis>& axes) {
  return product(program, extents(axes));
}

IntExpr ceil_div(IntExpr a, IntExpr b) {
  if (b == ir::int_constant(1)) return a;
  IntExpr up = std::move(a) + b - ir::int_constant(1);
  return ir::int_binary(Kind::kDiv, std::move(up), std::move(b));
}

std::string device_sizes(const Program& program) {
  const std::vector<std::string> free = program.free_sizes();
  std::string text;
  std::string known;
  for (const std::string& size : free) {
    known += fmt::format("{}defined(QUERN_SIZE_{})", known.empty() ? "" : " && ", size);
  }
  // The largest index is less than 2^31 even where the last block reaches past the end.
  std::string small;
  for (const IntExpr& count : counted(program)) {
    small +=
        fmt::format("{}{} < 2146435072", small.empty() ? "" : " && \\\n    ", preprocessor(count));
  }
  if (!free.empty()) text += fmt::format("#if {}\n", known);
  text += fmt::format("#if {}\ntypedef int q_int;\n#define Q_INT_KNOWN\n#endif\n", small);
  if (!free.empty()) text += "#endif\n";
  text += "#ifndef Q_INT_KNOWN\ntypedef long q_int;\n#endif\n";
  for (const std::string& size : free) {
    text += fmt::format("#ifndef QUERN_SIZE_{0}\n#define QUERN_SIZE_{0} z_{0}\n#endif\n", size);
  }
  const DeviceText print(program);
  text += "#define Q_SIZES \\\n";
  for (const ir::SizeDecl& size : program.sizes) {
    const std::string value = size.let ? print.index(*size.let) : "QUERN_SIZE_" + size.name;
    text +=
        fmt::format("  const q_int {0} = (q_int)({1}); (void){0}; \\\n", size_id(size.name), value);
  }
  return text + "  (void)0\n\n";
}

std::string device_signature(const Program& program, const DeviceKernel& kernel,
                             const std::vector<DeviceScratch>& scratch) {
  std::vector<std::string> params;
  for (const std::string& name : kernel.reads) {
    params.push_back(fmt::format("const Q_GLOBAL {}* Q_RESTRICT {}",
                                 dtype_c_name(type_of(program, name, scratch)), tensor_id(name)));
  }
  for (const std::string& name : kernel.writes) {
    params.push_back(fmt::format("Q_GLOBAL {}* Q_RESTRICT {}",
                                 dtype_c_name(type_of(program, name, scratch)), tensor_id(name)));
  }
  for (const std::string& size : program.free_sizes()) params.push_back("const long z_" + size);
  const std::string head = kernel.resident > 0 ? fmt::format("Q_KERNEL_RESIDENT({}, {})",
                                                             kernel.threads, kernel.resident)
                                               : fmt::format("Q_KERNEL({})", kernel.threads);
  return fmt::format("{} {}({})", head, kernel.name, fmt::join(params, ", "));
}

std::string device_source(const Program& program, DeviceLanguage language,
                          const DeviceProgram& made) {
  std::string text = fmt::format("// quern: target = {}\n// quern: specialize = sizes\n",
                                 device_language_name(language));
  for (const DeviceScratch& own : made.scratch) {
    text += fmt::format("// quern: scratch {} : {}[{}]\n", own.name, dtype_name(own.type),
                        plan_shape(own.shape));
  }
  for (const DeviceKernel& kernel : made.kernels) {
    std::vector<std::string> args = kernel.reads;
    args.insert(args.end(), kernel.writes.begin(), kernel.writes.end());
    for (const std::string& size : program.free_sizes()) args.push_back("i64(" + size + ")");
    const std::string shared =
        kernel.shared > 0 ? fmt::format(" shared ({})", kernel.shared) : std::string();
    text += fmt::format("// quern: launch {} grid ({}) block ({}){} args ({})\n", kernel.name,
                        ir::print(kernel.blocks), kernel.threads, shared, fmt::join(args, ", "));
  }
  if (!made.remarks.empty()) text += "//\n";
  for (const std::string& remark : made.remarks) text += "// " + remark + "\n";
  text += fmt::format("#include \"quern_{}.h\"\n\n{}", device_language_name(language),
                      device_sizes(program));
  for (const DeviceKernel& kernel : made.kernels) {
    text += device_signature(program, kernel, made.scratch) + " {\n  Q_SIZES;\n" + kernel.body +
            "}\n\n";
  }
  text.pop_back();
  return text;
}

std::string decode_position(const DeviceText& text, const std::string& position,
                            const std::vector<std::string>& names,
                            const std::vector<IntExpr>& extents) {
  std::string out;
  std::string rest = position;
  for (size_t d = names.size(); d-- > 0;) {
    if (d == 0) {
      out += fmt::format("const q_int {} = {};\n", names[0], rest);
      break;
    }
    // Truncating division: positions are not negative.
    const std::string extent = text.index(extents[d]);
    out += fmt::format("const q_int {} = {} % {};\n", names[d], rest, extent);
    rest = fmt::format("({} / {})", rest, extent);
  }
  return out;
}

std::string decode_position(const DeviceText& text, const std::string& position,
                            const std::vector<ir::Axis>& axes) {
  std::vector<std::string> names;
  std::vector<IntExpr> extents;
  for (const ir::Axis& axis : axes) {
    names.push_back(axis_id(axis.name));
    extents.push_back(axis.extent);
  }
  return decode_position(text, position, names, extents);
}

}  // namespace quern
