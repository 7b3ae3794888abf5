// SPDX-License-Identifier: Apache-2.0
#include "store/run_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/strings.h"
#include "store/diff.h"
#include "store/schema.h"

namespace quern {
namespace {

Result<Json> parse_column(const std::string& text, const Database& db, const char* what) {
  Result<Json> json = parse_json(text);
  if (json) return json;
  return Error{ErrorKind::kInput,
               fmt::format("{}: the run database is damaged: {} is not JSON", db.path(), what), ""};
}

/// Opens a database file that should be a run: right version, and whole.
Result<Database> open_database(const std::string& path, Database::Mode mode) {
  QUERN_ASSIGN(Database db, Database::open(path, mode));
  QUERN_ASSIGN(Statement version, db.prepare("PRAGMA user_version"));
  QUERN_TRY(version.step());
  if (version.integer(0) < 1 || version.integer(0) > kSchemaVersion) {
    return Error{ErrorKind::kInput,
                 fmt::format("{}: schema version {}, this program reads versions 1 to {}", path,
                             version.integer(0), kSchemaVersion),
                 "use the program that wrote the run, or start a new one"};
  }
  QUERN_ASSIGN(Statement check, db.prepare("PRAGMA quick_check(1)"));
  QUERN_TRY(check.step());
  if (check.text(0) != "ok") {
    return Error{ErrorKind::kInput,
                 fmt::format("{}: the run database is damaged: {}", path, check.text(0)),
                 "restore the file from a copy, or start a new run"};
  }
  return db;
}

/// Whether attempts have their `time`: those of version 1 do not.
Result<bool> has_times(Database& db) {
  QUERN_ASSIGN(Statement version, db.prepare("PRAGMA user_version"));
  QUERN_TRY(version.step());
  return version.integer(0) >= 2;
}

/// Brings a database of version 1 up to this program's version.
Result<void> upgrade(Database& db) {
  QUERN_ASSIGN(const bool timed, has_times(db));
  if (timed) return {};
  QUERN_ASSIGN(Transaction transaction, Transaction::begin(db));
  QUERN_TRY(db.execute("ALTER TABLE attempts ADD COLUMN time TEXT NOT NULL DEFAULT ''"));
  QUERN_TRY(db.execute(fmt::format("PRAGMA user_version={}", kSchemaVersion)));
  return transaction.commit();
}

/// The lock of a run directory. Its holder leaves its process id in `pid`, for the message.
Result<DirectoryLock> lock_run(const std::string& directory) {
  std::string path = directory + "/pid";
  Result<DirectoryLock> lock = DirectoryLock::acquire(directory);
  if (lock) {
    // Only a message is poorer without it: a full disk must not keep anyone from the lock.
    (void)write_file_atomic(path, fmt::format("{}\n", ::getpid())).has_value();
    return lock;
  }
  Result<std::string> holder = read_file(path, 64);
  if (lock.error().kind != ErrorKind::kBusy || !holder) return lock;
  return Error{ErrorKind::kBusy,
               fmt::format("process {} is working on the run in {}", trim(*holder), directory),
               "wait until it ends, stop it, or choose another directory with --out"};
}

Error not_a_run(const std::string& directory) {
  return {ErrorKind::kUsage, fmt::format("{} is not a run directory: no run.db", directory),
          "give the directory that `quern optimize` named"};
}

}  // namespace

Result<RunStore> RunStore::create(const std::string& directory, const RunOptions& options,
                                  const Environment& environment, const Work& work) {
  QUERN_TRY(make_directories(directory));
  QUERN_ASSIGN(DirectoryLock lock, lock_run(directory));
  std::string path = directory + "/run.db";
  if (file_exists(path)) {
    return Error{ErrorKind::kUsage, fmt::format("{} already holds a run", directory),
                 fmt::format("go on with it: quern resume {}; or choose another --out", directory)};
  }
  // Built under another name, so that a run directory never holds half a schema.
  std::string building = path + ".new";
  for (const char* suffix : {"", "-wal", "-journal", "-shm"}) ::unlink((building + suffix).c_str());
  {
    Result<Database> db = Database::open(building, Database::Mode::kCreate);
    Result<void> made = db ? Result<void>() : Result<void>(db.error());
    if (made) {
      RunStore store(std::move(*db));
      // Before the file has its name: a kill during the change of mode would leave a journal that a
      // reader may not roll back.
      made = store.db_.execute("PRAGMA journal_mode=WAL");
      if (made) made = store.insert_run(options, environment, work);
    }
    if (!made) {
      ::unlink(building.c_str());
      return made.error();
    }
  }
  std::error_code code;
  std::filesystem::rename(building, path, code);
  if (code) {
    return Error{ErrorKind::kEnvironment, fmt::format("{}: {}", path, code.message()), ""};
  }
  return open_existing(directory, std::move(lock));
}

Result<RunStore> RunStore::open(const std::string& directory) {
  if (!file_exists(directory + "/run.db")) return not_a_run(directory);
  QUERN_ASSIGN(DirectoryLock lock, lock_run(directory));
  return open_existing(directory, std::move(lock));
}

Result<RunStore> RunStore::read(const std::string& directory) {
  if (!file_exists(directory + "/run.db")) return not_a_run(directory);
  return open_existing(directory, std::nullopt);
}

Result<RunStore> RunStore::open_existing(const std::string& directory,
                                         std::optional<DirectoryLock> lock) {
  std::string path = directory + "/run.db";
  bool writable = lock.has_value();
  auto mode = writable ? Database::Mode::kReadWrite : Database::Mode::kReadOnly;
  Result<Database> db = open_database(path, mode);
  // A finished run on read-only storage: nobody writes, and SQLite may not make its side files.
  if (!db && !writable && !file_exists(path + "-wal")) {
    db = open_database(path, Database::Mode::kImmutable);
  }
  if (!db) return db.error();
  RunStore store(std::move(*db));
  store.directory_ = directory;
  store.lock_ = std::move(lock);
  // NORMAL under WAL: a commit survives the death of the process; only a power cut can cost the
  // last ones, and then whole transactions.
  if (writable) {
    QUERN_TRY(store.db_.execute("PRAGMA synchronous=NORMAL"));
    QUERN_TRY(upgrade(store.db_));
  }
  QUERN_ASSIGN(Statement first, store.db_.prepare("SELECT run_id FROM runs LIMIT 1"));
  QUERN_ASSIGN(bool row, first.step());
  if (!row) return Error{ErrorKind::kInput, path + ": the database holds no run", ""};
  store.run_id_ = first.text(0);
  return store;
}

Result<RunStore> RunStore::in_memory(const RunOptions& options, const Environment& environment,
                                     const Work& work) {
  QUERN_ASSIGN(Database db, Database::open(":memory:", Database::Mode::kCreate));
  RunStore store(std::move(db));
  QUERN_TRY(store.insert_run(options, environment, work));
  return store;
}

Result<void> RunStore::insert_run(const RunOptions& options, const Environment& environment,
                                  const Work& work) {
  QUERN_ASSIGN(Transaction transaction, Transaction::begin(db_));
  QUERN_TRY(db_.execute(kSchema));
  QUERN_TRY(db_.execute(fmt::format("PRAGMA user_version={}", kSchemaVersion)));
  std::string facts = dump(to_json(environment));
  std::string environment_id = sha256_hex(facts);
  QUERN_ASSIGN(Statement place, db_.prepare("INSERT INTO environments VALUES (?, ?)"));
  QUERN_TRY(place.bind(environment_id).bind(facts).run());
  std::string created = utc_now();
  run_id_ = sha256_hex(fmt::format("{} {} {}", created, ::getpid(),
                                   std::chrono::steady_clock::now().time_since_epoch().count()))
                .substr(0, 12);
  QUERN_ASSIGN(Statement run,
               db_.prepare("INSERT INTO runs (run_id, created_at, state, options, work, "
                           "environment_id) VALUES (?, ?, 'running', ?, ?, ?)"));
  run.bind(run_id_).bind(created).bind(dump(to_json(options))).bind(dump(to_json(work)));
  QUERN_TRY(run.bind(environment_id).run());
  return transaction.commit();
}

Result<RunRecord> RunStore::run() {
  QUERN_ASSIGN(Statement row,
               db_.prepare("SELECT created_at, state, options, environment, work, spent_s, "
                           "search_attempts, summary FROM runs JOIN environments "
                           "USING (environment_id) WHERE run_id = ?"));
  QUERN_ASSIGN(bool found, row.bind(run_id_).step());
  if (!found) return Error{ErrorKind::kInput, db_.path() + ": the run is not there", ""};
  RunRecord record;
  record.run_id = run_id_;
  record.created_at = row.text(0);
  record.state = row.text(1);
  QUERN_ASSIGN(Json options, parse_column(row.text(2), db_, "options"));
  QUERN_ASSIGN(record.options, from_json<RunOptions>(options));
  QUERN_ASSIGN(Json environment, parse_column(row.text(3), db_, "environment"));
  QUERN_ASSIGN(record.environment, from_json<Environment>(environment));
  QUERN_ASSIGN(Json work, parse_column(row.text(4), db_, "work"));
  QUERN_ASSIGN(record.work, from_json<Work>(work));
  record.spent_s = row.real(5);
  if (!row.is_null(6)) record.search_attempts = static_cast<int>(row.integer(6));
  if (!row.is_null(7)) {
    QUERN_ASSIGN(record.summary, parse_column(row.text(7), db_, "summary"));
  }
  return record;
}

Result<std::string> RunStore::parent_source(const Attempt& attempt) {
  if (attempt.candidate.parents.empty()) return std::string();
  QUERN_ASSIGN(Statement row, db_.prepare("SELECT source FROM attempts WHERE run_id = ? AND "
                                          "candidate_id = ? LIMIT 1"));
  QUERN_ASSIGN(bool found, row.bind(run_id_).bind(attempt.candidate.parents[0]).step());
  return found ? row.text(0) : std::string();
}

Result<void> RunStore::insert_attempt(const Attempt& attempt) {
  const Candidate& candidate = attempt.candidate;
  QUERN_ASSIGN(std::string parent, parent_source(attempt));
  std::string diff = parent.empty() ? "" : unified_diff(parent, candidate.source);
  QUERN_ASSIGN(Statement row,
               db_.prepare("INSERT INTO attempts (run_id, number, state, candidate_id, proposer, "
                           "language, source, trace, action, note, parents, diff) "
                           "VALUES (?, ?, 'in_flight', ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  row.bind(run_id_).bind(int64_t{attempt.number}).bind(candidate.id).bind(candidate.proposer);
  row.bind(candidate.language).bind(candidate.source).bind(candidate.trace).bind(attempt.action);
  QUERN_TRY(row.bind(candidate.note).bind(dump(Json(candidate.parents))).bind(diff).run());
  for (size_t i = 0; i < candidate.parents.size(); ++i) {
    QUERN_ASSIGN(Statement edge, db_.prepare("INSERT INTO edges VALUES (?, ?, ?, ?, ?)"));
    edge.bind(run_id_).bind(int64_t{attempt.number}).bind(candidate.parents[i]);
    QUERN_TRY(edge.bind(static_cast<int64_t>(i)).bind(attempt.action).run());
  }
  return {};
}

Result<void> RunStore::begin_attempts(const std::vector<Attempt>& attempts) {
  QUERN_ASSIGN(Transaction transaction, Transaction::begin(db_));
  for (const Attempt& attempt : attempts) QUERN_TRY(insert_attempt(attempt));
  return transaction.commit();
}

Result<void> RunStore::finish_attempt(int number, const Evaluation& evaluation, double spent_s,
                                      const std::string& time) {
  QUERN_ASSIGN(Transaction transaction, Transaction::begin(db_));
  QUERN_ASSIGN(Statement row, db_.prepare("UPDATE attempts SET state = 'done', evaluation = ?, "
                                          "time = ? WHERE run_id = ? AND number = ?"));
  row.bind(dump(to_json(evaluation))).bind(time);
  QUERN_TRY(row.bind(run_id_).bind(int64_t{number}).run());
  QUERN_ASSIGN(Statement spent,
               db_.prepare("UPDATE runs SET spent_s = spent_s + ? WHERE run_id = ?"));
  QUERN_TRY(spent.bind(spent_s).bind(run_id_).run());
  return transaction.commit();
}

Result<int> RunStore::drop_in_flight() {
  QUERN_ASSIGN(Transaction transaction, Transaction::begin(db_));
  QUERN_ASSIGN(Statement count, db_.prepare("SELECT count(*) FROM attempts WHERE run_id = ? AND "
                                            "state = 'in_flight'"));
  QUERN_TRY(count.bind(run_id_).step());
  int dropped = static_cast<int>(count.integer(0));
  QUERN_ASSIGN(Statement edges,
               db_.prepare("DELETE FROM edges WHERE run_id = ?1 AND child IN (SELECT number FROM "
                           "attempts WHERE run_id = ?1 AND state = 'in_flight')"));
  QUERN_TRY(edges.bind(run_id_).run());
  QUERN_ASSIGN(Statement rows,
               db_.prepare("DELETE FROM attempts WHERE run_id = ? AND state = 'in_flight'"));
  QUERN_TRY(rows.bind(run_id_).run());
  QUERN_TRY(transaction.commit());
  return dropped;
}

Result<std::vector<Attempt>> RunStore::attempts() {
  QUERN_ASSIGN(const bool timed, has_times(db_));
  QUERN_ASSIGN(Statement row,
               db_.prepare(fmt::format("SELECT number, candidate_id, proposer, language, source, "
                                       "trace, action, note, parents, evaluation, {} FROM attempts "
                                       "WHERE run_id = ? AND state = 'done' ORDER BY number",
                                       timed ? "time" : "''")));
  row.bind(run_id_);
  std::vector<Attempt> attempts;
  while (true) {
    QUERN_ASSIGN(bool more, row.step());
    if (!more) return attempts;
    Attempt& attempt = attempts.emplace_back();
    attempt.number = static_cast<int>(row.integer(0));
    attempt.action = row.text(6);
    attempt.time = row.text(10);
    Candidate& c = attempt.candidate;
    c.id = row.text(1);
    c.proposer = row.text(2);
    c.language = row.text(3);
    c.source = row.text(4);
    c.trace = row.text(5);
    c.note = row.text(7);
    QUERN_ASSIGN(Json parents, parse_column(row.text(8), db_, "parents"));
    for (const Json& parent : parents) {
      if (parent.is_string()) c.parents.push_back(parent.get<std::string>());
    }
    QUERN_ASSIGN(Json evaluation, parse_column(row.text(9), db_, "evaluation"));
    QUERN_ASSIGN(attempt.evaluation, from_json<Evaluation>(evaluation));
  }
}

Result<void> RunStore::add_baseline(const std::string& name, int number,
                                    const std::string& candidate_id) {
  QUERN_ASSIGN(Statement row, db_.prepare("INSERT OR REPLACE INTO baselines VALUES (?, ?, ?, ?)"));
  return row.bind(run_id_).bind(name).bind(int64_t{number}).bind(candidate_id).run();
}

Result<void> RunStore::add_duel(const DuelRecord& record, double spent_s) {
  QUERN_ASSIGN(Transaction transaction, Transaction::begin(db_));
  QUERN_ASSIGN(Statement row,
               db_.prepare("INSERT OR REPLACE INTO duels VALUES (?1, (SELECT count(*) FROM duels "
                           "WHERE run_id = ?1), ?2, ?3, ?4)"));
  row.bind(run_id_).bind(record.candidate_id).bind(record.baseline_id);
  QUERN_TRY(row.bind(dump(to_json(record.duel))).run());
  QUERN_ASSIGN(Statement spent,
               db_.prepare("UPDATE runs SET spent_s = spent_s + ? WHERE run_id = ?"));
  QUERN_TRY(spent.bind(spent_s).bind(run_id_).run());
  return transaction.commit();
}

Result<std::vector<DuelRecord>> RunStore::duels() {
  QUERN_ASSIGN(Statement row, db_.prepare("SELECT candidate_id, baseline_id, duel FROM duels "
                                          "WHERE run_id = ? ORDER BY position"));
  row.bind(run_id_);
  std::vector<DuelRecord> records;
  while (true) {
    QUERN_ASSIGN(bool more, row.step());
    if (!more) return records;
    DuelRecord& record = records.emplace_back();
    record.candidate_id = row.text(0);
    record.baseline_id = row.text(1);
    QUERN_ASSIGN(Json duel, parse_column(row.text(2), db_, "duel"));
    QUERN_ASSIGN(record.duel, from_json<Duel>(duel));
  }
}

Result<void> RunStore::set_search_ended(int attempts) {
  QUERN_ASSIGN(Statement row, db_.prepare("UPDATE runs SET search_attempts = ? WHERE run_id = ?"));
  return row.bind(int64_t{attempts}).bind(run_id_).run();
}

Result<void> RunStore::set_state(const std::string& state) {
  QUERN_ASSIGN(Statement row, db_.prepare("UPDATE runs SET state = ? WHERE run_id = ?"));
  return row.bind(state).bind(run_id_).run();
}

Result<void> RunStore::set_summary(const Json& summary) {
  QUERN_ASSIGN(Statement row, db_.prepare("UPDATE runs SET summary = ? WHERE run_id = ?"));
  return row.bind(dump(summary)).bind(run_id_).run();
}

Result<void> RunStore::set_budget(const RunOptions& options) {
  QUERN_ASSIGN(Statement row, db_.prepare("UPDATE runs SET options = ?, search_attempts = NULL "
                                          "WHERE run_id = ?"));
  return row.bind(dump(to_json(options))).bind(run_id_).run();
}

Result<void> RunStore::add_event(const std::string& kind, const std::string& detail) {
  QUERN_ASSIGN(Statement row,
               db_.prepare("INSERT INTO events VALUES (?1, (SELECT count(*) FROM events WHERE "
                           "run_id = ?1), ?2, ?3, ?4)"));
  return row.bind(run_id_).bind(utc_now()).bind(kind).bind(detail).run();
}

Result<std::vector<Event>> RunStore::events() {
  QUERN_ASSIGN(Statement row, db_.prepare("SELECT at, kind, detail FROM events WHERE run_id = ? "
                                          "ORDER BY position"));
  row.bind(run_id_);
  std::vector<Event> events;
  while (true) {
    QUERN_ASSIGN(bool more, row.step());
    if (!more) return events;
    events.push_back({row.text(0), row.text(1), row.text(2)});
  }
}

Result<std::string> RunStore::put_artifact(std::string_view bytes, const std::string& kind) {
  std::string hash = sha256_hex(bytes);
  QUERN_CHECK(!directory_.empty(), "an in-memory store keeps no artefacts");
  std::string folder = fmt::format("{}/artifacts/{}", directory_, hash.substr(0, 2));
  std::string path = fmt::format("{}/{}", folder, hash.substr(2));
  if (!file_exists(path)) {
    QUERN_TRY(make_directories(folder));
    QUERN_TRY(write_file_atomic(path, bytes));
  }
  QUERN_ASSIGN(Statement row, db_.prepare("INSERT OR IGNORE INTO artifacts VALUES (?, ?, ?, ?)"));
  row.bind(run_id_).bind(hash).bind(kind).bind(static_cast<int64_t>(bytes.size()));
  QUERN_TRY(row.run());
  return hash;
}

Result<std::string> RunStore::get_artifact(const std::string& hash) {
  if (hash.size() != 64) return Error{ErrorKind::kUsage, "not an artefact's hash: " + hash, ""};
  std::string path =
      fmt::format("{}/artifacts/{}/{}", directory_, hash.substr(0, 2), hash.substr(2));
  QUERN_ASSIGN(std::string bytes, read_file(path));
  if (sha256_hex(bytes) != hash) {
    return Error{ErrorKind::kInput, fmt::format("{}: the artefact is damaged", path), ""};
  }
  return bytes;
}

Result<void> RunStore::put_file(const std::string& name, std::string_view bytes) {
  return write_file_atomic(fmt::format("{}/{}", directory_, name), bytes);
}

}  // namespace quern
