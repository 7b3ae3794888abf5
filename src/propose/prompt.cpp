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

struct Prompts::Template {
  explicit Template(const std::string& text) : mustache(text) {
    mustache.set_custom_escape([](const std::string& plain) { return plain; });
  }
  kainjow::mustache::mustache mustache;
};

Result<Prompts> Prompts::make(const std::string& folder) {
  std::map<std::string, std::string> texts;
  for (const EmbeddedFile* file = kPromptFiles; file->name != nullptr; ++file) {
    texts[file->name] = file->text;
  }
  if (!folder.empty()) {
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
      if (entry.path().extension() != ".mustache") continue;
      QUERN_ASSIGN(texts[entry.path().stem().string()], read_file(entry.path().string()));
    }
    if (code) {
      return Error{ErrorKind::kInput,
                   fmt::format("cannot read the folder {}: {}", folder, code.message()), ""};
    }
  }
  Prompts prompts;
  for (const auto& [name, text] : texts) {
    auto made = std::make_shared<Template>(text);
    if (!made->mustache.is_valid()) {
      return Error{
          ErrorKind::kInput,
          fmt::format("the template {}.mustache: {}", name, made->mustache.error_message()), ""};
    }
    prompts.templates_[name] = std::move(made);
  }
  return prompts;
}

Result<std::string> Prompts::render(const std::string& name, const Json& data) const {
  const auto found = templates_.find(name);
  if (found == templates_.end()) {
    std::vector<std::string> known;
    for (const auto& [key, made] : templates_) known.push_back(key);
    return Error{ErrorKind::kInput, fmt::format("there is no prompt '{}'", name),
                 suggest(name, known)};
  }
  return without_gaps(found->second->mustache.render(to_data(data)));
}

}  // namespace quern
