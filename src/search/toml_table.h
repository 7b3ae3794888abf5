// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace quern {

/// Reads one table of a recipe, remembering which keys were asked for: what is left over is
/// unknown. Errors name the file and the line.
class TableReader {
 public:
  /// The top of a document. Errors: not TOML.
  static Result<TableReader> parse(const std::string& text, const std::string& file);

  /// An error at a key of this table, or at the table itself where it is null or not there.
  Error error(const std::string& message, const char* key, std::string hint = "") const;
  Error error(const Error& inner, const char* key) const {
    return error(inner.message, key, inner.hint);
  }

  Result<void> text(const char* key, std::string& into) { return get(key, into, "a text"); }
  /// Finite, and at most a billion either side.
  Result<void> number(const char* key, double& into);
  Result<void> count(const char* key, int& into, int least, int most);
  Result<void> texts(const char* key, std::vector<std::string>& into);
  /// Every key that was not asked for, as a number.
  Result<void> numbers(std::map<std::string, double>& into);

  bool has(const char* key) const;
  /// A reader of the table under a key; nothing where there is none. Errors: not a table.
  Result<std::vector<TableReader>> table(const char* key);
  /// Readers of the tables of a list, [[key]].
  Result<std::vector<TableReader>> tables(const char* key);
  /// Readers of the tables in the table under a key, by name.
  Result<std::map<std::string, TableReader>> named_tables(const char* key);

  /// Errors: a key that nobody asked for, with a suggestion.
  Result<void> finish() const;

 private:
  /// `table`: a table of the library that parses; keeps the whole document.
  TableReader(std::shared_ptr<const void> table, std::string where, std::string file)
      : table_(std::move(table)), where_(std::move(where)), file_(std::move(file)) {}
  template <class T>
  Result<void> get(const char* key, T& into, const char* what);
  TableReader child(const void* table, const std::string& where) const;

  std::shared_ptr<const void> table_;
  std::string where_, file_;
  std::vector<std::string> known_;
};

}  // namespace quern
