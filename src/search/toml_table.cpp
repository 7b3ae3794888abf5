// SPDX-License-Identifier: Apache-2.0
#include "search/toml_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

// The library asserts what bad input breaks (a key that begins with '#'), and reports it right
// after; with NDEBUG it would assume it.
#undef NDEBUG
#define TOML_ASSERT(expr) static_cast<void>(0)
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "base/suggest.h"

namespace quern {
namespace {

const toml::table& as_table(const std::shared_ptr<const void>& table) {
  return *static_cast<const toml::table*>(table.get());
}

}  // namespace

Result<TableReader> TableReader::parse(const std::string& text, const std::string& file) {
  toml::parse_result parsed = toml::parse(text, file);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return Error{
        ErrorKind::kInput,
        fmt::format("{}, line {}: {}", file, error.source().begin.line, error.description()), ""};
  }
  return TableReader(std::make_shared<const toml::table>(std::move(parsed).table()), "", file);
}

TableReader TableReader::child(const void* table, const std::string& where) const {
  return {std::shared_ptr<const void>(table_, table), where, file_};
}

Error TableReader::error(const std::string& message, const char* key, std::string hint) const {
  const toml::node* node = key == nullptr ? nullptr : as_table(table_).get(key);
  const auto& source = node == nullptr ? as_table(table_).source() : node->source();
  return {ErrorKind::kInput, fmt::format("{}, line {}: {}", file_, source.begin.line, message),
          std::move(hint)};
}

bool TableReader::has(const char* key) const { return as_table(table_).contains(key); }

template <class T>
Result<void> TableReader::get(const char* key, T& into, const char* what) {
  known_.emplace_back(key);
  const toml::node* node = as_table(table_).get(key);
  if (node == nullptr) return {};
  const auto value = node->value<T>();
  if (!value) return error(fmt::format("`{}` is to be {}", key, what), key);
  into = *value;
  return {};
}
template Result<void> TableReader::get(const char*, std::string&, const char*);
template Result<void> TableReader::get(const char*, double&, const char*);

namespace {
bool is_sane(double value) { return std::isfinite(value) && std::abs(value) <= 1e9; }
}  // namespace

Result<void> TableReader::number(const char* key, double& into) {
  QUERN_TRY(get(key, into, "a number"));
  if (has(key) && !is_sane(into)) {
    return error(fmt::format("`{}` is to be a number of at most 1e9", key), key);
  }
  return {};
}

Result<void> TableReader::count(const char* key, int& into, int least, int most) {
  int64_t value = into;
  QUERN_TRY(get(key, value, "a whole number"));
  if (has(key) && (value < least || value > most)) {
    return error(fmt::format("`{}` is to be between {} and {}", key, least, most), key);
  }
  into = static_cast<int>(value);
  return {};
}

Result<void> TableReader::texts(const char* key, std::vector<std::string>& into) {
  known_.emplace_back(key);
  const toml::node* node = as_table(table_).get(key);
  if (node == nullptr) return {};
  into.clear();
  const toml::array* array = node->as_array();
  for (size_t i = 0; array != nullptr && i < array->size(); ++i) {
    const auto value = array->get(i)->value<std::string>();
    if (value) into.push_back(*value);
    if (!value) array = nullptr;
  }
  if (array == nullptr) return error(fmt::format("`{}` is to be a list of texts", key), key);
  return {};
}

Result<void> TableReader::numbers(std::map<std::string, double>& into) {
  for (const auto& [key, node] : as_table(table_)) {
    const std::string name(key.str());
    if (std::ranges::find(known_, name) != known_.end()) continue;
    const auto value = node.value<double>();
    if (!value || !is_sane(*value)) {
      return error(fmt::format("`{}` is to be a number of at most 1e9", name), name.c_str());
    }
    into[name] = *value;
    known_.push_back(name);
  }
  return {};
}

Result<std::vector<TableReader>> TableReader::table(const char* key) {
  known_.emplace_back(key);
  const toml::node* node = as_table(table_).get(key);
  std::vector<TableReader> found;
  if (node == nullptr) return found;
  if (!node->is_table()) return error(fmt::format("write [{}]", key), key);
  found.push_back(child(node->as_table(), fmt::format(" in [{}]", key)));
  return found;
}

Result<std::vector<TableReader>> TableReader::tables(const char* key) {
  known_.emplace_back(key);
  const toml::node* node = as_table(table_).get(key);
  std::vector<TableReader> found;
  if (node == nullptr) return found;
  const toml::array* rows = node->as_array();
  for (size_t i = 0; rows != nullptr && i < rows->size(); ++i) {
    const toml::table* row = rows->get(i)->as_table();
    if (row != nullptr) found.push_back(child(row, fmt::format(" in [[{}]]", key)));
    if (row == nullptr) rows = nullptr;
  }
  if (rows == nullptr) return error(fmt::format("write [[{}]]", key), key);
  return found;
}

Result<std::map<std::string, TableReader>> TableReader::named_tables(const char* key) {
  known_.emplace_back(key);
  std::map<std::string, TableReader> found;
  const toml::node* node = as_table(table_).get(key);
  if (node == nullptr) return found;
  const toml::table* tables = node->as_table();
  if (tables == nullptr) return error(fmt::format("write [{}.NAME]", key), key);
  for (const auto& [name, row] : *tables) {
    const std::string text(name.str());
    if (!row.is_table()) return error(fmt::format("write [{}.{}]", key, text), key);
    found.emplace(text, child(row.as_table(), fmt::format(" in [{}.{}]", key, text)));
  }
  return found;
}

Result<void> TableReader::finish() const {
  for (const auto& [key, node] : as_table(table_)) {
    const std::string name(key.str());
    if (std::ranges::find(known_, name) != known_.end()) continue;
    return error(fmt::format("unknown key `{}`{}", name, where_), name.c_str(),
                 suggest(name, known_));
  }
  return {};
}

}  // namespace quern
