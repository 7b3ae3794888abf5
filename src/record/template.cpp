// SPDX-License-Identifier: Apache-2.0
#include "record/template.h"

#include <fmt/format.h>

#include <kainjow/mustache.hpp>

namespace quern {
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

}  // namespace

struct Template::Compiled {
  explicit Compiled(const std::string& of) : text(of), mustache(of) {
    mustache.set_custom_escape([](const std::string& plain) { return plain; });
  }
  std::string text;
  kainjow::mustache::mustache mustache;
};

Result<Template> Template::parse(const std::string& name, const std::string& text) {
  Template made;
  made.compiled_ = std::make_shared<Compiled>(text);
  if (!made.compiled_->mustache.is_valid()) {
    return Error{
        ErrorKind::kInput,
        fmt::format("the template {}.mustache: {}", name, made.compiled_->mustache.error_message()),
        ""};
  }
  return made;
}

std::string Template::render(const Json& data) const {
  return compiled_->mustache.render(to_data(data));
}

const std::string& Template::text() const { return compiled_->text; }

}  // namespace quern
