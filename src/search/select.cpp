// SPDX-License-Identifier: Apache-2.0
#include "search/select.h"

#include <fmt/format.h>

#include "base/suggest.h"
#include "search/select_table.h"

namespace quern {
namespace {

std::vector<SelectorInfo> all_selectors() {
  std::vector<SelectorInfo> rows;
  for (auto part : {plain_selectors, tree_selectors, bandit_selectors, population_selectors}) {
    for (SelectorInfo& row : part()) rows.push_back(std::move(row));
  }
  return rows;
}

Error unknown(const std::string& what, const std::string& name,
              const std::vector<std::string>& known) {
  return Error{ErrorKind::kInput, fmt::format("unknown {} '{}'", what, name), suggest(name, known)};
}

}  // namespace

std::span<const SelectorInfo> selectors() {
  static const auto& rows = *new std::vector<SelectorInfo>(all_selectors());
  return rows;
}

Result<std::unique_ptr<Selector>> make_selector(const std::string& name,
                                                SelectorSettings settings) {
  std::vector<std::string> names;
  for (const SelectorInfo& row : selectors()) {
    names.emplace_back(row.name);
    if (name != row.name) continue;
    std::map<std::string, double> numbers;
    std::vector<std::string> known;
    for (const SelectorParameter& parameter : row.parameters) {
      numbers[parameter.name] = parameter.value;
      known.emplace_back(parameter.name);
    }
    for (const auto& [key, value] : settings.numbers) {
      if (!numbers.contains(key)) {
        return unknown(fmt::format("parameter of selector '{}'", name), key, known);
      }
      numbers[key] = value;
    }
    settings.numbers = std::move(numbers);
    std::unique_ptr<Selector> made = row.make(settings);
    if (made) return made;
    return Error{ErrorKind::kInput,
                 fmt::format("selector '{}' needs strategies to choose from", name),
                 "list them under [[strategy]]"};
  }
  return unknown("selector", name, names);
}

}  // namespace quern
