// SPDX-License-Identifier: Apache-2.0
#include "propose/prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/embedded.h"
#include "base/file.h"
#include "base/suggest.h"

namespace quern {

extern const EmbeddedFile kPromptFiles[];

namespace {

std::string without_gaps(const std::string& text) {
  std::string out;
  int newlines = 2;  // none at the start
  for (char c : text) {
    newlines = c == '\n' ? newlines + 1 : 0;
    if (newlines <= 2) out += c;
  }
  return out;
}

}  // namespace

Result<Prompts> Prompts::make(const std::string& folder) {
  std::map<std::string, std::string> texts;
  for (const EmbeddedFile* file = kPromptFiles; file->name != nullptr; ++file) {
    texts[file->name] = file->text;
  }
  if (folder.empty()) return compile(texts);
  std::error_code code;
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
    if (entry.path().extension() != ".mustache") continue;
    QUERN_ASSIGN(texts[entry.path().stem().string()], read_file(entry.path().string()));
    ++found;
  }
  if (code) {
    return Error{ErrorKind::kInput,
                 fmt::format("cannot read the folder {}: {}", folder, code.message()), ""};
  }
  if (found == 0) {
    return Error{ErrorKind::kInput, fmt::format("{} has no templates", folder),
                 "a template is a file NAME.mustache; those that are there take the place of "
                 "Quern's own (see: prompts/)"};
  }
  return compile(texts);
}

Result<Prompts> Prompts::compile(const std::map<std::string, std::string>& texts) {
  Prompts prompts;
  for (const auto& [name, text] : texts) {
    QUERN_ASSIGN(Template made, Template::parse(name, text));
    prompts.templates_.emplace(name, std::move(made));
  }
  return prompts;
}

Result<Prompts> Prompts::parse(const std::string& text) {
  QUERN_ASSIGN(const Json json, parse_json(text));
  std::map<std::string, std::string> texts;
  for (const auto& [name, value] : json.items()) {
    if (!json.is_object() || !value.is_string()) {
      return Error{ErrorKind::kInput, "the prompts of a run are to be an object of texts", ""};
    }
    texts[name] = value.get<std::string>();
  }
  return compile(texts);
}

std::string Prompts::text() const {
  Json texts = Json::object();
  for (const auto& [name, made] : templates_) texts[name] = made.text();
  return dump(texts);
}

std::vector<std::string> Prompts::names() const {
  std::vector<std::string> names;
  for (const auto& [name, made] : templates_) names.push_back(name);
  return names;
}

Result<std::string> Prompts::render(const std::string& name, const Json& data) const {
  const auto found = templates_.find(name);
  if (found == templates_.end()) {
    return Error{ErrorKind::kInput, fmt::format("there is no prompt '{}'", name),
                 suggest(name, names())};
  }
  return without_gaps(found->second.render(data));
}

}  // namespace quern
