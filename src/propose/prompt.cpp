// SPDX-License-Identifier: Apache-2.0
#include "propose/prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <kainjow/mustache.hpp>

#include "base/embedded.h"
#include "base/file.h"
#include "base/suggest.h"

namespace quern {

extern const EmbeddedFile kPromptFiles[];

namespace {

using kainjow::mustache::data;

data to_data(const Json& json) {
  if (json.is_object()) {
    data made{data::type::object};
    for (const auto& [key, value] : json.items()) made.set(key, to_data(value));
    return made;
  }
  if (json.is_array()) {
    data made{data::type::list};
    for (const Json& value : json) made.push_back(to_data(value));
    return made;
  }
  if (json.is_boolean()) return data(json.get<bool>());
  if (json.is_null()) return data(false);
  if (json.is_string()) {
    // An empty text is nothing: sections on it are left out.
    const std::string text = json.get<std::string>();
    return text.empty() ? data(false) : data(text);
  }
  return data(json.dump());
}

Result<kainjow::mustache::mustache> compile(const std::string& name, const std::string& text) {
  kainjow::mustache::mustache made(text);
  if (!made.is_valid()) {
    return Error{ErrorKind::kInput,
                 fmt::format("the template {}.mustache: {}", name, made.error_message()), ""};
  }
  made.set_custom_escape([](const std::string& plain) { return plain; });
  return made;
}

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
  Prompts prompts;
  for (const EmbeddedFile* file = kPromptFiles; file->name != nullptr; ++file) {
    prompts.texts_[file->name] = file->text;
  }
  if (!folder.empty()) {
    std::error_code code;
    int found = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
      if (entry.path().extension() != ".mustache") continue;
      QUERN_ASSIGN(prompts.texts_[entry.path().stem().string()], read_file(entry.path().string()));
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
  }
  QUERN_TRY(prompts.check());
  return prompts;
}

Result<void> Prompts::check() const {
  for (const auto& [name, text] : texts_) QUERN_TRY(compile(name, text));
  return {};
}

Result<Prompts> Prompts::parse(const std::string& text) {
  QUERN_ASSIGN(const Json json, parse_json(text));
  Prompts prompts;
  for (const auto& [name, value] : json.items()) {
    if (!json.is_object() || !value.is_string()) {
      return Error{ErrorKind::kInput, "the prompts of a run are to be an object of texts", ""};
    }
    prompts.texts_[name] = value.get<std::string>();
  }
  QUERN_TRY(prompts.check());
  return prompts;
}

std::string Prompts::text() const { return dump(Json(texts_)); }

std::vector<std::string> Prompts::names() const {
  std::vector<std::string> names;
  for (const auto& [name, text] : texts_) names.push_back(name);
  return names;
}

Result<std::string> Prompts::render(const std::string& name, const Json& data) const {
  const auto found = texts_.find(name);
  if (found == texts_.end()) {
    const std::vector<std::string> known = names();
    std::string hint = did_you_mean(name, known);
    if (hint.empty()) hint = fmt::format("known: {}", fmt::join(known, ", "));
    return Error{ErrorKind::kInput, fmt::format("there is no prompt '{}'", name), hint};
  }
  QUERN_ASSIGN(auto compiled, compile(name, found->second));
  return without_gaps(compiled.render(to_data(data)));
}

}  // namespace quern
