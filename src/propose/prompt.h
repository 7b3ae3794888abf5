// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "record/json.h"
#include "record/template.h"

namespace quern {

/// What is said to models, as mustache templates by name: those of prompts/, and those of a folder
/// of the user's that take their place. Copies share what was compiled; not thread-safe.
class Prompts {
 public:
  /// `folder`: "" for none. Errors: the folder is not there, or has no template; a template that is
  /// not mustache.
  static Result<Prompts> make(const std::string& folder = "");
  /// What `text` gave. Errors: kInput, something else.
  static Result<Prompts> parse(const std::string& text);

  /// All templates as the text of a JSON object: what a run keeps, so that it goes on with the
  /// same.
  std::string text() const;
  bool has(const std::string& name) const { return templates_.contains(name); }
  std::vector<std::string> names() const;

  /// Fills in a template. Nothing is escaped; what the data lacks is left out. Runs of blank lines
  /// that sections leave become one. Errors: kInput, no template of this name, with a suggestion.
  Result<std::string> render(const std::string& name, const Json& data) const;

 private:
  static Result<Prompts> compile(const std::map<std::string, std::string>& texts);
  std::map<std::string, Template> templates_;
};

}  // namespace quern
