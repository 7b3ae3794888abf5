// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "record/json.h"

namespace quern {

/// What is said to models, as mustache templates by name: those of prompts/, and those of a folder
/// of the user's that take their place. Copies share what was compiled; not thread-safe.
class Prompts {
 public:
  /// `folder`: "" for none. Errors: the folder is not there; a template that is not mustache.
  static Result<Prompts> make(const std::string& folder = "");

  /// Fills in a template. Nothing is escaped; what the data lacks is left out. Runs of blank lines
  /// that sections leave become one. Errors: kInput, no template of this name, with a suggestion.
  Result<std::string> render(const std::string& name, const Json& data) const;

 private:
  struct Template;
  std::map<std::string, std::shared_ptr<Template>> templates_;
};

}  // namespace quern
