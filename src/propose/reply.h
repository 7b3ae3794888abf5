// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace quern {

/// A fenced block of a reply.
struct CodeBlock {
  std::string language;  ///< the word after the fence, lower case; "" where there is none
  std::string text;      ///< ends with a newline
  bool closed = true;    ///< false: the reply ended first
};

/// All fenced blocks, in order. Fences are three or more backticks or tildes at the start of a line
/// (indented or not), closed by at least as many of the same; lines end with \n or \r\n. A fence
/// inside a longer fence is text.
std::vector<CodeBlock> code_blocks(std::string_view reply);

/// The kernel in a reply, whatever surrounds it. Of blocks that define `entry` the last complete
/// one wins (models correct themselves further down), then the last incomplete one; then a single
/// block of any kind; then, without fences, the text from its first line of code on. Errors: kInput
/// with what was found instead, to be said to the model.
Result<std::string> extract_code(std::string_view reply, std::string_view entry);

/// One replacement of a search/replace reply.
struct CodeEdit {
  std::string search;
  std::string replace;
};

/// Blocks of the form
///     <<<<<<< SEARCH
///     old lines
///     =======
///     new lines
///     >>>>>>> REPLACE
/// in or outside fences. Errors: a block without its middle or end.
Result<std::vector<CodeEdit>> extract_edits(std::string_view reply);

/// Applies edits in order. Each must be found exactly once: as it is, else with the blanks at line
/// ends ignored, else with the indentation ignored too (the replacement is then indented alike).
/// Errors: kInput naming the edit, with the nearest line of the source as a hint.
Result<std::string> apply_edits(const std::string& source, const std::vector<CodeEdit>& edits);

}  // namespace quern
