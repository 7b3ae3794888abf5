// SPDX-License-Identifier: Apache-2.0
#include "deploy/size_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "base/check.h"
#include "base/strings.h"
#include "ir/spell.h"

namespace quern {
namespace {

/// Reserved words of either language that a task may use as a name, and names that the generated
/// files use themselves.
constexpr std::string_view kReserved[] = {
    "and",      "as",        "asm",      "assert",   "async",    "auto",     "await",    "bool",
    "break",    "case",      "catch",    "char",     "class",    "concept",  "const",    "continue",
    "ctypes",   "def",       "default",  "del",      "delete",   "do",       "double",   "elif",
    "else",     "enum",      "except",   "explicit", "export",   "extern",   "false",    "finally",
    "float",    "for",       "friend",   "from",     "global",   "goto",     "if",       "import",
    "in",       "inline",    "int",      "is",       "kernel",   "lambda",   "long",     "math",
    "mutable",  "namespace", "new",      "nonlocal", "not",      "operator", "or",       "pass",
    "private",  "protected", "public",   "raise",    "register", "requires", "return",   "self",
    "short",    "signed",    "sizeof",   "sizes",    "static",   "std",      "struct",   "switch",
    "template", "this",      "throw",    "torch",    "true",     "try",      "typedef",  "typeid",
    "typename", "union",     "unsigned", "using",    "virtual",  "void",     "volatile", "while",
    "with",     "xor",       "yield"};

constexpr ir::IntSpelling kPython = {"({} // {})", "({} % {})", "min({}, {})", "max({}, {})"};
constexpr ir::IntSpelling kCpp = {"quern_floor_div({}, {})", "quern_floor_mod({}, {})",
                                  "std::min({}, {})", "std::max({}, {})"};

}  // namespace

std::string safe_name(const std::string& name) {
  return std::ranges::find(kReserved, name) == std::end(kReserved) ? name : name + "_";
}

std::string size_text(const ir::IntExpr& expr, SizeLanguage language) {
  using Kind = ir::IntExpr::Kind;
  const bool python = language == SizeLanguage::kPython;
  if (expr.kind == Kind::kConstant) {
    return python ? std::to_string(expr.value) : fmt::format("std::int64_t{{{}}}", expr.value);
  }
  if (expr.kind == Kind::kSize) return safe_name(expr.name);
  QUERN_CHECK(expr.args.size() == 2, "an extent is made of sizes");
  return ir::spell(expr.kind, python ? kPython : kCpp, size_text(expr.args[0], language),
                   size_text(expr.args[1], language));
}

std::string shape_text(const std::vector<ir::IntExpr>& shape, SizeLanguage language) {
  std::vector<std::string> parts;
  for (const ir::IntExpr& extent : shape) parts.push_back(size_text(extent, language));
  std::string inside = join(parts, ", ");
  if (language == SizeLanguage::kCpp) return inside;
  return parts.size() == 1 ? fmt::format("({},)", inside) : fmt::format("({})", inside);
}

}  // namespace quern
