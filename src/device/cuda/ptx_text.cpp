// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/ptx_text.h"

#include <algorithm>

#include "base/strings.h"

namespace quern::cuda {
namespace {

constexpr std::string_view kBlanks = " \t\r\n\f\v";

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '$' || c == '%';
}

size_t end_of_name(std::string_view text) {
  size_t at = 0;
  while (at < text.size() && is_name(text[at])) ++at;
  return at;
}

size_t line_end(std::string_view text) {
  const size_t end = text.find('\n');
  return end == std::string_view::npos ? text.size() : end + 1;
}

/// Blanks and comments at the beginning.
size_t end_of_space(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const std::string_view rest = text.substr(at);
    if (kBlanks.find(rest[0]) != std::string_view::npos) {
      ++at;
    } else if (rest.starts_with("//")) {
      at += line_end(rest);
    } else if (rest.starts_with("/*")) {
      const size_t end = rest.find("*/", 2);
      if (end == std::string_view::npos) return text.size();
      at += end + 2;
    } else {
      break;
    }
  }
  return at;
}

bool takes_a_line(std::string_view text) {
  return std::ranges::any_of(
      std::initializer_list<std::string_view>{".version", ".target", ".address_size", ".loc",
                                              ".file"},
      [&](std::string_view name) {
        return text.starts_with(name) && text.size() > name.size() &&
               kBlanks.find(text[name.size()]) != std::string_view::npos;
      });
}

/// A declaration outside of functions: up to the semicolon, or a function's head. "{" of an
/// initial value is no body: it follows "=".
PtxItem declaration(std::string_view rest) {
  const size_t stop = rest.find_first_of(";{=");
  if (stop == std::string_view::npos) return {PtxItem::Kind::kUnknown, rest};
  const std::string_view head = rest.substr(0, stop);
  if (ptx_has_word(head, ".entry") || ptx_has_word(head, ".func")) {
    return {PtxItem::Kind::kFunction, head};
  }
  const size_t end = rest.find(';');
  const bool body = rest[stop] == '{' || end == std::string_view::npos;
  if (body) return {PtxItem::Kind::kUnknown, head};
  return {PtxItem::Kind::kDirective, rest.substr(0, end + 1)};
}

}  // namespace

bool ptx_has_word(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    const bool begins = at == 0 || !(is_name(text[at - 1]) || text[at - 1] == '.');
    if (begins && (end == text.size() || !is_name(text[end]))) return true;
  }
  return false;
}

PtxItem next_ptx_item(std::string_view rest, bool in_function) {
  using Kind = PtxItem::Kind;
  if (rest.empty()) return {};
  if (const size_t space = end_of_space(rest); space > 0)
    return {Kind::kSpace, rest.substr(0, space)};
  if (takes_a_line(rest)) return {Kind::kSpace, rest.substr(0, line_end(rest))};
  if (rest[0] == '}') return {Kind::kClose, rest.substr(0, 1)};
  if (rest[0] == '{') return {Kind::kOpen, rest.substr(0, 1)};
  if (!in_function) return declaration(rest);
  if (rest[0] == ';') return {Kind::kSpace, rest.substr(0, 1)};
  const size_t name = end_of_name(rest);
  const bool colon = name > 0 && name < rest.size() && rest[name] == ':';
  if (colon && !rest.substr(name).starts_with("::"))
    return {Kind::kLabel, rest.substr(0, name + 1)};
  const size_t end = rest.find(';');
  if (end == std::string_view::npos) return {Kind::kUnknown, rest};
  const std::string_view text = rest.substr(0, end + 1);
  return {rest[0] == '.' ? Kind::kDirective : Kind::kInstruction, text};
}

bool PtxInstruction::has(std::string_view modifier) const {
  return std::ranges::find(modifiers, modifier) != modifiers.end();
}

bool PtxInstruction::has_memory_operand() const {
  return std::ranges::any_of(operands, [](auto operand) { return operand.starts_with('['); });
}

PtxInstruction parse_ptx_instruction(std::string_view text) {
  PtxInstruction made;
  if (text.ends_with(';')) text.remove_suffix(1);
  text = trim(text);
  if (text.starts_with('@')) {
    const std::string_view guard = trim(text.substr(1));
    const size_t negated = guard.starts_with('!') ? 1 : 0;
    const size_t end = negated + end_of_name(guard.substr(negated));
    made.predicate = guard.substr(0, end);
    text = trim(guard.substr(end));
  }
  const size_t end = std::min(text.find_first_of(" \t\r\n[{("), text.size());
  made.opcode = text.substr(0, end);
  for (std::string_view left = made.opcode; !left.empty();) {
    const size_t dot = std::min(left.find('.'), left.size());
    made.modifiers.push_back(left.substr(0, dot));
    left.remove_prefix(std::min(dot + 1, left.size()));
  }
  int depth = 0;
  size_t begin = end;
  for (size_t at = end; at <= text.size(); ++at) {
    const char c = at < text.size() ? text[at] : ',';
    if (c == '[' || c == '{' || c == '(') ++depth;
    if (c == ']' || c == '}' || c == ')') --depth;
    if (c != ',' || (depth > 0 && at < text.size())) continue;
    const std::string_view operand = trim(text.substr(begin, at - begin));
    if (!operand.empty()) made.operands.push_back(operand);
    begin = at + 1;
  }
  return made;
}

PtxAddress parse_ptx_address(std::string_view operand) {
  if (!operand.starts_with('[') || !operand.ends_with(']')) return {};
  const std::string_view inside = trim(operand.substr(1, operand.size() - 2));
  const size_t name = end_of_name(inside);
  if (name == 0) return {};
  PtxAddress address{inside.substr(0, name), trim(inside.substr(name))};
  if (address.offset.empty()) return address;
  const char sign = address.offset[0];
  if (sign == '+') address.offset = trim(address.offset.substr(1));
  const std::string_view digits =
      address.offset.starts_with('-') ? address.offset.substr(1) : address.offset;
  const bool number = !digits.empty() && std::ranges::all_of(digits, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == 'x';
  });
  if (!number || digits[0] < '0' || digits[0] > '9') return {};
  return address;
}

std::string_view ptx_declared_name(std::string_view text) {
  // The name comes before the first parenthesis, bracket or initial value; a function's result
  // stands before its name.
  text = trim(text);
  if (ptx_has_word(text, ".func")) {
    const size_t word = text.find(".func") + 5;
    text = trim(text.substr(word));
    if (text.starts_with('('))
      text = trim(text.substr(std::min(text.find(')'), text.size() - 1) + 1));
  }
  text = trim(text.substr(0, text.find_first_of("([=;")));
  size_t begin = text.size();
  while (begin > 0 && is_name(text[begin - 1])) --begin;
  return begin > 0 && text[begin - 1] == '.' ? std::string_view() : text.substr(begin);
}

}  // namespace quern::cuda
