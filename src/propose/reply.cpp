// SPDX-License-Identifier: Apache-2.0
#include "propose/reply.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <functional>

#include "base/strings.h"
#include "base/suggest.h"

namespace quern {
namespace {

using Lines = std::vector<std::string_view>;

/// Lines without their ends.
Lines lines_of(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

std::string_view without_indent(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view() : line.substr(first);
}

std::string_view without_tail(std::string_view line) {
  const size_t last = line.find_last_not_of(" \t\r");
  return last == std::string_view::npos ? std::string_view() : line.substr(0, last + 1);
}

struct Fence {
  char mark = 0;
  size_t length = 0;  ///< 0: the line is no fence
  std::string_view info;
};

Fence fence_of(std::string_view line) {
  const std::string_view text = without_indent(line);
  if (text.empty() || (text[0] != '`' && text[0] != '~')) return {};
  const size_t length = std::min(text.find_first_not_of(text[0]), text.size());
  if (length < 3) return {};
  const std::string_view info = without_tail(without_indent(text.substr(length)));
  // ```like this``` is code in a line, not a fence.
  if (info.find('`') != std::string_view::npos) return {};
  return {text[0], length, info};
}

std::string language_of(std::string_view info) {
  std::string word(info.substr(0, info.find_first_of(" \t{:,")));
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return std::tolower(c); });
  return word;
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Whether the text has a function of this name followed by an argument list and a body.
bool defines(std::string_view text, std::string_view entry) {
  for (size_t at = text.find(entry); at != std::string_view::npos; at = text.find(entry, at + 1)) {
    if (at > 0 && is_word(text[at - 1])) continue;
    const std::string_view after = without_indent(text.substr(at + entry.size()));
    if (!after.starts_with('(')) continue;
    const size_t close = after.find(')');
    const size_t next =
        close == std::string_view::npos ? close : after.find_first_not_of(" \t\r\n", close + 1);
    if (next != std::string_view::npos && after[next] == '{') return true;
  }
  return false;
}

bool looks_like_code(std::string_view line) {
  const std::string_view text = without_indent(line);
  for (const char* start : {"#include", "#pragma", "#define", "// quern:", "extern \"C\"",
                            "namespace ", "template", "static ", "using ", "constexpr "}) {
    if (text.starts_with(start)) return true;
  }
  return false;
}

}  // namespace

std::vector<CodeBlock> code_blocks(std::string_view reply) {
  std::vector<CodeBlock> blocks;
  Fence open;  // of length 0: none is
  for (std::string_view line : lines_of(reply)) {
    const Fence fence = fence_of(line);
    if (open.length == 0 && fence.length > 0) {
      open = fence;
      blocks.push_back({language_of(fence.info), "", false});
    } else if (open.length > 0 && fence.mark == open.mark && fence.length >= open.length &&
               fence.info.empty()) {
      open = {};
      blocks.back().closed = true;
    } else if (open.length > 0) {
      blocks.back().text += std::string(line) + "\n";
    }
  }
  return blocks;
}

Result<std::string> extract_code(std::string_view reply, std::string_view entry) {
  const std::vector<CodeBlock> blocks = code_blocks(reply);
  for (bool closed : {true, false}) {
    for (size_t i = blocks.size(); i-- > 0;) {
      if (blocks[i].closed == closed && defines(blocks[i].text, entry)) return blocks[i].text;
    }
  }
  if (blocks.size() == 1 && !without_tail(blocks[0].text).empty()) return blocks[0].text;
  if (blocks.empty()) {
    const Lines lines = lines_of(reply);
    const auto first = std::ranges::find_if(lines, looks_like_code);
    std::string code;
    for (auto line = first; line != lines.end(); ++line) code += std::string(*line) + "\n";
    if (defines(code, entry)) return code;
  }
  return Error{ErrorKind::kInput,
               blocks.empty() ? "the reply has no code block"
                              : fmt::format("none of the reply's {} code blocks defines {}",
                                            blocks.size(), entry),
               fmt::format("give the whole source in one ``` block; its entry is `{}`", entry)};
}

Result<std::vector<CodeEdit>> extract_edits(std::string_view reply) {
  enum class Part { kOutside, kSearch, kReplace } part = Part::kOutside;
  std::vector<CodeEdit> edits;
  const auto cut_off = [](const char* what) {
    return Error{ErrorKind::kInput, fmt::format("an edit has no line `{}`", what),
                 "write <<<<<<< SEARCH, the old lines, =======, the new lines, >>>>>>> REPLACE"};
  };
  for (std::string_view line : lines_of(reply)) {
    const std::string_view text = without_tail(without_indent(line));
    if (text.starts_with("<<<<<<<") && text.find("SEARCH") != std::string_view::npos) {
      if (part != Part::kOutside) return cut_off(">>>>>>> REPLACE");
      edits.emplace_back();
      part = Part::kSearch;
    } else if (part == Part::kSearch && text.starts_with("=======")) {
      part = Part::kReplace;
    } else if (text.starts_with(">>>>>>>") && part != Part::kOutside) {
      if (part == Part::kSearch) return cut_off("=======");
      part = Part::kOutside;
    } else if (part != Part::kOutside) {
      std::string& into = part == Part::kSearch ? edits.back().search : edits.back().replace;
      into += std::string(line) + "\n";
    }
  }
  if (part == Part::kSearch) return cut_off("=======");
  if (part == Part::kReplace) return cut_off(">>>>>>> REPLACE");
  return edits;
}

namespace {

using Normal = std::function<std::string_view(std::string_view)>;

/// First lines of all places where `wanted` occurs, both seen through `normal`.
std::vector<size_t> places(const Lines& source, const Lines& wanted, const Normal& normal) {
  std::vector<size_t> found;
  for (size_t at = 0; at + wanted.size() <= source.size(); ++at) {
    const bool same =
        std::equal(wanted.begin(), wanted.end(), source.begin() + static_cast<long>(at),
                   [&](std::string_view a, std::string_view b) { return normal(a) == normal(b); });
    if (same) found.push_back(at);
  }
  return found;
}

std::string_view indent_of(std::string_view line) {
  return line.substr(0, std::min(line.find_first_not_of(" \t"), line.size()));
}

/// Puts the lines of a replacement in the place of `count` lines from `at` on. `shift`: the first
/// lines' difference in indentation goes for all.
std::string replaced(const Lines& source, size_t at, const Lines& search, const Lines& replace,
                     bool shift) {
  const std::string_view given = search.empty() ? "" : indent_of(search[0]);
  const std::string_view real = indent_of(source[at]);
  std::string text;
  const auto add = [&](std::string_view line) { text += std::string(line) + "\n"; };
  for (size_t i = 0; i < at; ++i) add(source[i]);
  for (std::string_view line : replace) {
    if (shift && line.starts_with(given) && !without_tail(line).empty()) {
      add(std::string(real) + std::string(line.substr(given.size())));
    } else {
      add(line);
    }
  }
  for (size_t i = at + search.size(); i < source.size(); ++i) add(source[i]);
  return text;
}

Result<std::string> apply_edit(const std::string& source, const CodeEdit& edit, size_t number) {
  const Lines lines = lines_of(source), search = lines_of(edit.search);
  const Lines replace = lines_of(edit.replace);
  const auto all_blank = [](const Lines& some) {
    return std::ranges::all_of(some, [](auto line) { return without_tail(line).empty(); });
  };
  if (all_blank(search)) {
    return Error{ErrorKind::kInput, fmt::format("edit {} searches for nothing", number),
                 "quote the lines that it replaces"};
  }
  const auto as_is = [](std::string_view line) { return line; };
  const auto trimmed = [](std::string_view line) { return without_tail(without_indent(line)); };
  for (const auto& [normal, shift] : {std::pair<Normal, bool>{as_is, false},
                                      {Normal(without_tail), false},
                                      {Normal(trimmed), true}}) {
    const std::vector<size_t> found = places(lines, search, normal);
    if (found.size() == 1) return replaced(lines, found[0], search, replace, shift);
    if (found.size() > 1) {
      return Error{ErrorKind::kInput, fmt::format("edit {} fits {} places", number, found.size()),
                   "quote more lines around it"};
    }
  }
  std::vector<std::string> known;
  for (std::string_view line : lines) known.emplace_back(trimmed(line));
  const auto first =
      std::ranges::find_if(search, [&](auto line) { return !trimmed(line).empty(); });
  const std::string near = nearest(trimmed(*first), known);
  return Error{ErrorKind::kInput,
               fmt::format("edit {}: the source has no such lines: `{}`", number, trimmed(*first)),
               near.empty() ? "quote the lines exactly" : fmt::format("it has: `{}`", near)};
}

}  // namespace

Result<std::string> apply_edits(const std::string& source, const std::vector<CodeEdit>& edits) {
  std::string text = source;
  for (size_t i = 0; i < edits.size(); ++i) {
    QUERN_ASSIGN(text, apply_edit(text, edits[i], i + 1));
  }
  return text;
}

}  // namespace quern
