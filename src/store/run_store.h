// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "record/evaluator.h"
#include "record/json.h"
#include "store/sqlite.h"

namespace quern {

/// A recorded duel between two candidates of the run.
struct DuelRecord {
  std::string candidate_id;
  std::string baseline_id;
  Duel duel;
};

/// What a run is, apart from its attempts.
struct RunRecord {
  std::string run_id;
  std::string created_at;  ///< UTC, ISO 8601
  std::string state;       ///< "running", "interrupted", "finished"
  RunOptions options;
  Environment environment;
  Work work;
  double spent_s = 0;                  ///< wall seconds of all sessions so far
  std::optional<int> search_attempts;  ///< set once the search itself (not the finals) has ended
  std::optional<Json> summary;
};

struct Event {
  std::string at, kind, detail;
};

/// The journal of one run: a directory with `run.db` (SQLite, WAL), `artifacts/` by content hash,
/// and `lock`, held while the run is open for writing. What a call has returned for survives a
/// SIGKILL. Schema: docs/store_schema.md. Errors: kBusy (another process writes here; says which),
/// kInput (damaged, or not a run), kEnvironment (read-only, full). Not thread-safe.
class RunStore {
 public:
  /// A new run in a directory that has none yet; makes the directory.
  static Result<RunStore> create(const std::string& directory, const RunOptions& options,
                                 const Environment& environment, const Work& work);
  /// An existing run, to go on with.
  static Result<RunStore> open(const std::string& directory);
  /// An existing run, to look at; needs no lock, works while another process writes.
  static Result<RunStore> read(const std::string& directory);
  /// For tests: nothing on disk, artefacts refused.
  static Result<RunStore> in_memory(const RunOptions& options, const Environment& environment,
                                    const Work& work);

  const std::string& directory() const { return directory_; }
  Result<RunRecord> run();

  /// Journals attempts before they are evaluated, in one transaction.
  Result<void> begin_attempts(const std::vector<Attempt>& attempts);
  /// Completes a journaled attempt, judged at `time` (`Attempt::time`), and adds `spent_s` to the
  /// run's account.
  Result<void> finish_attempt(int number, const Evaluation& evaluation, double spent_s,
                              const std::string& time = "");
  /// Forgets attempts that were in flight when a process died; returns how many.
  Result<int> drop_in_flight();
  /// Completed attempts in the order of the trajectory.
  Result<std::vector<Attempt>> attempts();

  Result<void> add_baseline(const std::string& name, int number, const std::string& candidate_id);
  Result<void> add_duel(const DuelRecord& record, double spent_s);
  Result<std::vector<DuelRecord>> duels();

  Result<void> set_search_ended(int attempts);
  Result<void> set_state(const std::string& state);
  Result<void> set_summary(const Json& summary);
  Result<void> set_budget(const RunOptions& options);
  Result<void> add_event(const std::string& kind, const std::string& detail);
  Result<std::vector<Event>> events();

  /// Stores bytes under their SHA-256 (`artifacts/ab/cdef…`); the same bytes are stored once.
  Result<std::string> put_artifact(std::string_view bytes, const std::string& kind);
  /// Bytes of an artefact, checked against the hash.
  Result<std::string> get_artifact(const std::string& hash);
  /// Writes a file of the run directory ("best.cpp", "report.html"), whole or not at all.
  Result<void> put_file(const std::string& name, std::string_view bytes);

 private:
  explicit RunStore(Database db) : db_(std::move(db)) {}
  static Result<RunStore> open_existing(const std::string& directory,
                                        std::optional<DirectoryLock> lock);
  Result<void> insert_run(const RunOptions& options, const Environment& environment,
                          const Work& work);
  Result<void> insert_attempt(const Attempt& attempt);
  Result<std::string> parent_source(const Attempt& attempt);

  Database db_;
  std::string directory_;
  std::string run_id_;
  std::optional<DirectoryLock> lock_;
};

}  // namespace quern
