// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "record/json.h"

namespace quern {

/// A mustache template: `{{name}}` and sections over lists and truths; nothing is escaped. Empty
/// texts count as untrue. Copies share what was compiled; not thread-safe.
class Template {
 public:
  /// Errors: kInput, naming the template and what is wrong with it.
  static Result<Template> parse(const std::string& name, const std::string& text);
  /// `data` is an object; names that it lacks are empty.
  std::string render(const Json& data) const;
  const std::string& text() const;

 private:
  struct Compiled;
  std::shared_ptr<Compiled> compiled_;
};

}  // namespace quern
