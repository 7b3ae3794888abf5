// SPDX-License-Identifier: Apache-2.0
#include "store/sqlite.h"

#include <fmt/format.h>

#include <cctype>
#include <cerrno>
#include <cstring>

namespace quern {

namespace {

/// The file as a URI that promises that nobody writes to it.
std::string immutable_uri(const std::string& path) {
  std::string uri = "file:";
  for (unsigned char c : path) {
    bool plain = std::isalnum(c) || c == '/' || c == '.' || c == '-' || c == '_';
    uri += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return uri + "?immutable=1";
}

}  // namespace

Error sqlite_error(sqlite3* db, int code, const std::string& path) {
  std::string what = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
  int system = db ? sqlite3_system_errno(db) : 0;
  if (system != 0) what += fmt::format(" ({})", std::strerror(system));
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {ErrorKind::kInput, fmt::format("{}: the run database is damaged: {}", path, what),
              "restore the file from a copy, or start a new run; artifacts/ beside it is intact"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {ErrorKind::kBusy, fmt::format("{}: locked by another process", path), ""};
    case SQLITE_FULL:
      return {ErrorKind::kEnvironment, fmt::format("{}: the disk is full", path),
              "free some space, then `quern resume` the run: what was recorded is safe"};
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return {ErrorKind::kEnvironment, fmt::format("{}: cannot read or write: {}", path, what),
              "check space and permissions of the run directory; what was recorded is safe"};
    default:
      return {ErrorKind::kInternal, fmt::format("{}: {}", path, what), ""};
  }
}

Statement& Statement::bind(const std::string& text) {
  sqlite3_bind_text64(statement_.get(), next_++, text.data(), text.size(), SQLITE_TRANSIENT,
                      SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind(int64_t value) {
  sqlite3_bind_int64(statement_.get(), next_++, value);
  return *this;
}

Statement& Statement::bind(double value) {
  sqlite3_bind_double(statement_.get(), next_++, value);
  return *this;
}

Statement& Statement::bind_null() {
  sqlite3_bind_null(statement_.get(), next_++);
  return *this;
}

Result<bool> Statement::step() {
  int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return sqlite_error(db_, sqlite3_extended_errcode(db_), path_);
}

Result<void> Statement::run() {
  while (true) {
    QUERN_ASSIGN(bool row, step());
    if (!row) return {};
  }
}

std::string Statement::text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  int size = sqlite3_column_bytes(statement_.get(), column);
  return bytes ? std::string(static_cast<const char*>(bytes), size) : std::string();
}

Result<Database> Database::open(const std::string& path, Mode mode) {
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (mode == Mode::kReadOnly) flags |= SQLITE_OPEN_READONLY;
  if (mode == Mode::kImmutable) flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
  if (mode == Mode::kReadWrite) flags |= SQLITE_OPEN_READWRITE;
  if (mode == Mode::kCreate) flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  Database database;
  database.path_ = path;
  sqlite3* raw = nullptr;
  std::string name = mode == Mode::kImmutable ? immutable_uri(path) : path;
  int code = sqlite3_open_v2(name.c_str(), &raw, flags, nullptr);
  database.db_.reset(raw);
  if (code != SQLITE_OK) return sqlite_error(raw, code, path);
  sqlite3_busy_timeout(raw, 10'000);
  return database;
}

Result<Statement> Database::prepare(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  int code =
      sqlite3_prepare_v2(db_.get(), sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) return sqlite_error(db_.get(), code, path_);
  return Statement(db_.get(), statement, path_);
}

Result<void> Database::execute(const std::string& sql) {
  int code = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return sqlite_error(db_.get(), code, path_);
  return {};
}

Result<Transaction> Transaction::begin(Database& db) {
  QUERN_TRY(db.execute("BEGIN IMMEDIATE"));
  return Transaction(db);
}

Transaction::~Transaction() {
  // A failed rollback leaves nothing to do here: closing the database rolls back too.
  if (db_) (void)db_->execute("ROLLBACK");
}

Result<void> Transaction::commit() {
  QUERN_TRY(db_->execute("COMMIT"));
  db_ = nullptr;
  return {};
}

}  // namespace quern
