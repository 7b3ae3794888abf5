// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern {

/// Pieces between separators; an empty text is one empty piece.
std::vector<std::string> split(std::string_view text, char separator);

/// The words between runs of white space.
std::vector<std::string> split_words(std::string_view text);

/// The text without white space at its ends.
std::string_view trim(std::string_view text);

std::string join(const std::vector<std::string>& parts, std::string_view separator);

/// `text` with every `from` replaced by `to`. `from` is not empty.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

/// At most `limit` bytes of the text; says how much was left out.
std::string shorten(std::string_view text, size_t limit);

/// A source in a Markdown fence that is longer than any in it.
std::string fenced_code(const std::string& source);

/// The text as one word of a POSIX shell: in single quotes where it needs them.
std::string shell_word(std::string_view text);

/// A C identifier: a letter or underscore, then letters, digits, underscores.
bool is_identifier(std::string_view text);

}  // namespace quern
