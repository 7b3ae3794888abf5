// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

namespace quern::cuda {

/// The next thing in a PTX text.
struct PtxItem {
  enum class Kind {
    kEnd,
    kSpace,        ///< blanks, comments, and directives that take a line (.version, .loc)
    kOpen,         ///< {
    kClose,        ///< }
    kLabel,        ///< name:
    kDirective,    ///< .reg …; and the declaration of a variable
    kFunction,     ///< the head of .entry or .func, without what follows ({ or ;)
    kInstruction,  ///< up to its semicolon
    kUnknown,
  };
  Kind kind = Kind::kEnd;
  std::string_view text;  ///< all of it, as it stands
};

/// The item at the beginning of `rest`. `in_function`: between the braces of one.
PtxItem next_ptx_item(std::string_view rest, bool in_function);

/// An instruction in its parts.
struct PtxInstruction {
  std::string_view predicate;               ///< "%p1", "!%p1"; "": none
  std::string_view opcode;                  ///< "ld.global.v4.f32"
  std::vector<std::string_view> modifiers;  ///< "ld", "global", "v4", "f32"
  std::vector<std::string_view> operands;   ///< split at commas outside of brackets

  bool is(std::string_view name) const { return !modifiers.empty() && modifiers[0] == name; }
  bool has(std::string_view modifier) const;
  bool has_memory_operand() const;
};
PtxInstruction parse_ptx_instruction(std::string_view text);

/// "%rd4+16" of "[%rd4+16]", in its parts; an empty base where it is neither.
struct PtxAddress {
  std::string_view base, offset;  ///< the offset with its sign; "": none
};
PtxAddress parse_ptx_address(std::string_view operand);

/// The name that a declaration or the head of a function introduces; "" where there is none.
std::string_view ptx_declared_name(std::string_view text);
/// Whether one of its words is this: ".entry".
bool ptx_has_word(std::string_view text, std::string_view word);

}  // namespace quern::cuda
