// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

namespace quern {

/// Maps an SQLite failure to ours: damage is kInput, a full disk or missing permission is
/// kEnvironment, a lock held too long is kBusy. `path` is named in the message.
Error sqlite_error(sqlite3* db, int code, const std::string& path);

/// A prepared statement: bind in order, step, read columns. Reset by `reset`.
class Statement {
 public:
  Statement(sqlite3* db, sqlite3_stmt* statement, std::string path)
      : db_(db), statement_(statement), path_(std::move(path)) {}

  Statement& bind(const std::string& text);
  Statement& bind(int64_t value);
  Statement& bind(double value);
  Statement& bind_null();

  /// True when there is a row, false at the end.
  Result<bool> step();
  /// Runs to the end; for statements without rows.
  Result<void> run();

  std::string text(int column) const;
  int64_t integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  double real(int column) const { return sqlite3_column_double(statement_.get(), column); }
  bool is_null(int column) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
  }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  sqlite3* db_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  std::string path_;
  int next_ = 1;
};

/// An open database file (or ":memory:"). Waits up to 10 s for other writers.
class Database {
 public:
  enum class Mode { kCreate, kReadWrite, kReadOnly, kImmutable };
  static Result<Database> open(const std::string& path, Mode mode);

  Result<Statement> prepare(const std::string& sql);
  /// One or more statements without parameters or rows.
  Result<void> execute(const std::string& sql);
  const std::string& path() const { return path_; }

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  std::unique_ptr<sqlite3, Close> db_;
  std::string path_;
};

/// Begins at construction (immediate), rolls back at destruction unless committed.
class Transaction {
 public:
  static Result<Transaction> begin(Database& db);
  Transaction(Transaction&& other) noexcept : db_(other.db_) { other.db_ = nullptr; }
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Result<void> commit();

 private:
  explicit Transaction(Database& db) : db_(&db) {}
  Database* db_;
};

}  // namespace quern
