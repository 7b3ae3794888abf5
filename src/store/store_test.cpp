// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "store/diff.h"
#include "store/run_store.h"

namespace quern {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "quern-store-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    run_ = root_ + "/run";
  }
  void TearDown() override {
    fs::permissions(root_, fs::perms::owner_all);
    fs::remove_all(root_);
  }
  RunStore make() {
    RunOptions options;
    options.task_name = "relu";
    options.seed = 7;
    Environment environment;
    environment.cpu = "a cpu";
    Result<RunStore> store = RunStore::create(run_, options, environment, Work{1, 2, 3, "x"});
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  std::string root_, run_;
};

Attempt attempt_of(int number, const std::string& source, std::vector<std::string> parents = {}) {
  Attempt attempt;
  attempt.number = number;
  attempt.candidate = make_candidate(source, "rules");
  attempt.candidate.parents = std::move(parents);
  attempt.candidate.trace = "vectorize(y, axis=i, width=16)\n";
  attempt.candidate.note = "wider";
  attempt.action = "vectorize(y, axis=i, width=16)";
  return attempt;
}

Evaluation passed_evaluation(const std::string& id, double ns) {
  Evaluation evaluation;
  evaluation.candidate_id = id;
  Timing timing;
  timing.median_ns = ns;
  timing.samples_ns = {ns, ns + 0.1};
  evaluation.verdict = Passed{"V2", "probes", timing};
  evaluation.build.log = "warning";
  return evaluation;
}

TEST_F(StoreTest, GivesBackWhatWasRecordedAfterReopening) {
  Attempt first = attempt_of(0, "a\nb\nc\n");
  Attempt second = attempt_of(1, "a\nB\nc\n", {first.candidate.id});
  {
    RunStore store = make();
    ASSERT_TRUE(store.begin_attempts({first, second}));
    ASSERT_TRUE(store.finish_attempt(0, passed_evaluation(first.candidate.id, 12.3), 1.5));
    ASSERT_TRUE(store.finish_attempt(1, passed_evaluation(second.candidate.id, 1.0 / 3), 0.5,
                                     "2026-01-31T12:00:00.000Z"));
    ASSERT_TRUE(store.add_duel({first.candidate.id, "base", Duel{"naive", 2, 1.9, 2.1, 5}}, 1));
    ASSERT_TRUE(store.add_event("start", "here"));
    ASSERT_TRUE(store.set_summary(Json{{"k", 1}}));
  }
  Result<RunStore> again = RunStore::open(run_);
  ASSERT_TRUE(again) << again.error().message;
  Result<RunRecord> run = again->run();
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(run->options.seed, 7u);
  EXPECT_EQ(run->environment.cpu, "a cpu");
  EXPECT_EQ(run->work.floor_ns, 3);
  EXPECT_EQ(run->spent_s, 3);
  EXPECT_EQ((*run->summary)["k"], 1);
  auto attempts = again->attempts();
  ASSERT_TRUE(attempts);
  ASSERT_EQ(attempts->size(), 2u);
  EXPECT_EQ((*attempts)[1].candidate.source, second.candidate.source);
  EXPECT_EQ((*attempts)[1].candidate.parents, second.candidate.parents);
  EXPECT_EQ(timing_of((*attempts)[1].evaluation.verdict)->median_ns, 1.0 / 3);
  EXPECT_EQ((*attempts)[1].time, "2026-01-31T12:00:00.000Z");
  ASSERT_EQ(again->duels()->size(), 1u);
  EXPECT_EQ((*again->duels())[0].duel.low, 1.9);
  EXPECT_EQ((*again->events())[0].detail, "here");
}

TEST_F(StoreTest, ExposesVerdictAndDiffToPlainSql) {
  Attempt first = attempt_of(0, "a\n");
  Attempt second = attempt_of(1, "b\n", {first.candidate.id});
  RunStore store = make();
  ASSERT_TRUE(store.begin_attempts({first, second}));
  ASSERT_TRUE(store.finish_attempt(1, passed_evaluation(second.candidate.id, 5), 0));
  Result<Database> db = Database::open(run_ + "/run.db", Database::Mode::kReadOnly);
  ASSERT_TRUE(db);
  Result<Statement> row =
      db->prepare("SELECT verdict, median_ns, level, build_log, diff FROM attempts WHERE number=1");
  ASSERT_TRUE(row);
  ASSERT_TRUE(*row->step());
  EXPECT_EQ(row->text(0), "passed");
  EXPECT_EQ(row->real(1), 5);
  EXPECT_EQ(row->text(2), "V2");
  EXPECT_EQ(row->text(3), "warning");
  EXPECT_THAT(row->text(4), HasSubstr("-a\n+b\n"));
}

TEST_F(StoreTest, DropsOnlyAttemptsInFlight) {
  RunStore store = make();
  Attempt first = attempt_of(0, "a"), second = attempt_of(1, "b", {first.candidate.id});
  ASSERT_TRUE(store.begin_attempts({first, second}));
  ASSERT_TRUE(store.finish_attempt(0, passed_evaluation(first.candidate.id, 1), 0));
  EXPECT_EQ(*store.drop_in_flight(), 1);
  EXPECT_EQ(store.attempts()->size(), 1u);
  EXPECT_TRUE(store.begin_attempts({second}));
}

TEST_F(StoreTest, RefusesASecondWriterAndNamesIt) {
  RunStore store = make();
  Result<RunStore> second = RunStore::open(run_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kBusy);
  EXPECT_THAT(second.error().message, HasSubstr(std::to_string(getpid())));
  EXPECT_TRUE(RunStore::read(run_)) << "a reader needs no lock";
}

TEST_F(StoreTest, RefusesToCreateOverARun) {
  { RunStore store = make(); }
  Result<RunStore> second = RunStore::create(run_, {}, {}, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kUsage);
  EXPECT_THAT(second.error().hint, HasSubstr("quern resume"));
}

TEST_F(StoreTest, SaysThatADirectoryIsNotARun) {
  Result<RunStore> store = RunStore::open(root_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().kind, ErrorKind::kUsage);
}

TEST_F(StoreTest, SaysThatTheFileIsDamaged) {
  { RunStore store = make(); }
  std::ofstream(run_ + "/run.db", std::ios::binary)
      << "this was never a database, whatever it says";
  Result<RunStore> garbage = RunStore::open(run_);
  ASSERT_FALSE(garbage);
  EXPECT_EQ(garbage.error().kind, ErrorKind::kInput);
  EXPECT_THAT(garbage.error().message, HasSubstr("damaged"));
  EXPECT_TRUE(RunStore::open(run_).error().kind != ErrorKind::kBusy) << "the lock was let go";
}

TEST_F(StoreTest, NoticesPagesOverwrittenInTheMiddle) {
  {
    RunStore store = make();
    std::vector<Attempt> attempts;
    for (int i = 0; i < 40; ++i) attempts.push_back(attempt_of(i, std::string(3000, 'a' + i % 26)));
    ASSERT_TRUE(store.begin_attempts(attempts));
  }
  {
    std::fstream file(run_ + "/run.db", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096 * 5);
    file << std::string(4096 * 20, '\x5a');
  }
  Result<RunStore> store = RunStore::open(run_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().kind, ErrorKind::kInput);
}

TEST_F(StoreTest, RefusesADatabaseOfAnotherVersion) {
  { RunStore store = make(); }
  ASSERT_TRUE(Database::open(run_ + "/run.db", Database::Mode::kReadWrite)
                  ->execute("PRAGMA user_version=99"));
  Result<RunStore> store = RunStore::open(run_);
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message, HasSubstr("version 99"));
}

TEST_F(StoreTest, ReadsARunOfVersion1AndGoesOnWithIt) {
  Attempt first = attempt_of(0, "a"), second = attempt_of(1, "b");
  {
    RunStore store = make();
    ASSERT_TRUE(store.begin_attempts({first}));
    ASSERT_TRUE(store.finish_attempt(0, passed_evaluation(first.candidate.id, 1), 0));
  }
  Result<Database> db = Database::open(run_ + "/run.db", Database::Mode::kReadWrite);
  ASSERT_TRUE(db->execute("ALTER TABLE attempts DROP COLUMN time"));
  ASSERT_TRUE(db->execute("PRAGMA user_version=1"));
  ASSERT_EQ(RunStore::read(run_)->attempts()->at(0).time, "");
  Result<RunStore> store = RunStore::open(run_);
  ASSERT_TRUE(store) << store.error().message;
  ASSERT_TRUE(store->begin_attempts({second}));
  ASSERT_TRUE(store->finish_attempt(1, passed_evaluation(second.candidate.id, 2), 0, "later"));
  ASSERT_EQ(store->attempts()->size(), 2u);
  EXPECT_EQ(store->attempts()->at(0).time, "");
  EXPECT_EQ(store->attempts()->at(1).time, "later");
}

TEST_F(StoreTest, ReportsAPathThatCannotBeADirectory) {
  std::ofstream(root_ + "/file") << "x";
  Result<RunStore> store = RunStore::create(root_ + "/file/run", {}, {}, {});
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message, HasSubstr(root_ + "/file"));
}

TEST_F(StoreTest, KeepsWhatIsRecordedWhenTheDiskFillsUp) {
  { RunStore store = make(); }
  pid_t child = fork();
  if (child == 0) {
    // A file-size limit fails writes as a full disk does.
    signal(SIGXFSZ, SIG_IGN);
    rlimit limit{200'000, 200'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    Result<RunStore> store = RunStore::open(run_);
    if (!store) _exit(10);
    for (int i = 0; i < 1000; ++i) {
      Attempt attempt = attempt_of(i, std::string(5000, 'x') + std::to_string(i));
      Result<void> begun = store->begin_attempts({attempt});
      if (begun) begun = store->finish_attempt(i, passed_evaluation(attempt.candidate.id, i), 0);
      if (!begun) _exit(begun.error().kind == ErrorKind::kEnvironment && i > 3 ? 0 : 11);
    }
    _exit(12);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  Result<RunStore> store = RunStore::open(run_);
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_GT(store->attempts()->size(), 3u);
}

TEST_F(StoreTest, LosesNothingCommittedWhenKilled) {
  { RunStore store = make(); }
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  pid_t child = fork();
  if (child == 0) {
    Result<RunStore> store = RunStore::open(run_);
    for (int i = 0; store; ++i) {
      Attempt attempt = attempt_of(i, "source " + std::to_string(i));
      if (!store->begin_attempts({attempt})) break;
      if (!store->finish_attempt(i, passed_evaluation(attempt.candidate.id, i), 0)) break;
      if (write(pipes[1], &i, sizeof i) != sizeof i) break;
    }
    _exit(1);
  }
  int committed = -1;
  while (committed < 50) ASSERT_EQ(read(pipes[0], &committed, sizeof committed), 4);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(pipes[1]);
  for (int next; read(pipes[0], &next, sizeof next) == 4;) committed = next;
  close(pipes[0]);
  Result<RunStore> store = RunStore::open(run_);
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_GE(static_cast<int>(store->attempts()->size()), committed + 1);
}

TEST_F(StoreTest, StoresAnArtefactOnceAndChecksIt) {
  RunStore store = make();
  Result<std::string> hash = store.put_artifact("bytes", "source");
  ASSERT_TRUE(hash) << hash.error().message;
  EXPECT_EQ(*store.put_artifact("bytes", "source"), *hash);
  EXPECT_EQ(*store.get_artifact(*hash), "bytes");
  std::ofstream(run_ + "/artifacts/" + hash->substr(0, 2) + "/" + hash->substr(2)) << "other";
  EXPECT_EQ(store.get_artifact(*hash).error().kind, ErrorKind::kInput);
}

TEST_F(StoreTest, ReadsWhatAKilledProcessLeft) {
  { RunStore store = make(); }
  pid_t child = fork();
  if (child == 0) {
    Result<RunStore> store = RunStore::open(run_);
    Attempt attempt = attempt_of(0, "a");
    bool ok = store && store->begin_attempts({attempt}).has_value() &&
              store->finish_attempt(0, passed_evaluation(attempt.candidate.id, 1), 0).has_value();
    kill(getpid(), ok ? SIGKILL : SIGTERM);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  ASSERT_TRUE(fs::exists(run_ + "/run.db-wal")) << "the last writes are beside the database";
  Result<RunStore> store = RunStore::read(run_);
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_EQ(store->attempts()->size(), 1u);
}

TEST_F(StoreTest, ReadsAFinishedRunWhereNothingCanBeWritten) {
  { RunStore store = make(); }
  // Superusers write everywhere; a path that SQLite opens as immutable shows the same.
  Result<Database> db = Database::open(run_ + "/run.db", Database::Mode::kImmutable);
  ASSERT_TRUE(db) << db.error().message;
  Result<Statement> row = db->prepare("SELECT count(*) FROM runs");
  ASSERT_TRUE(row && row->step());
  EXPECT_EQ(row->integer(0), 1);
  EXPECT_FALSE(db->execute("DELETE FROM runs"));
}

TEST(Diff, IsEmptyForEqualTexts) { EXPECT_EQ(unified_diff("a\nb\n", "a\nb\n"), ""); }

TEST(Diff, ShowsAChangeWithContextAndPosition) {
  EXPECT_EQ(unified_diff("1\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\nfive\n6\n7\n8\n"),
            "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
}

TEST(Diff, SeparatesDistantChanges) {
  std::string before, after;
  for (int i = 0; i < 30; ++i) before += std::to_string(i) + "\n";
  for (int i = 0; i < 30; ++i) after += (i == 2 || i == 25 ? "x\n" : std::to_string(i) + "\n");
  std::string diff = unified_diff(before, after);
  EXPECT_THAT(diff, HasSubstr("@@ -1,6 +1,6 @@"));
  EXPECT_THAT(diff, HasSubstr("@@ -23,7 +23,7 @@"));
}

TEST(Diff, AddsAndRemovesWholeTexts) {
  EXPECT_EQ(unified_diff("", "a\nb\n"), "@@ -1,0 +1,2 @@\n+a\n+b\n");
  EXPECT_EQ(unified_diff("a\nb\n", ""), "@@ -1,2 +1,0 @@\n-a\n-b\n");
}

/// Applies a diff that has every line in one hunk, to check it on random texts.
TEST(Diff, LeadsFromOneTextToTheOtherOnRandomTexts) {
  uint32_t state = 1;
  auto random = [&](uint32_t n) { return (state = state * 1664525 + 1013904223) / 65536 % n; };
  for (int round = 0; round < 300; ++round) {
    std::string before, after;
    for (uint32_t i = random(12); i > 0; --i) before += std::string(1, 'a' + random(3)) + "\n";
    for (uint32_t i = random(12); i > 0; --i) after += std::string(1, 'a' + random(3)) + "\n";
    // Equal heads and tails longer than the context force one hunk with known surroundings.
    std::string diff = unified_diff(before, after), removed, added;
    if (before == after) continue;
    size_t first = 0;
    for (size_t at = 0; at < diff.size();) {
      size_t end = diff.find('\n', at);
      std::string line = diff.substr(at, end - at + 1);
      at = end + 1;
      if (line[0] == '@') {
        ++first;
        continue;
      }
      if (line[0] != '+') removed += line.substr(1);
      if (line[0] != '-') added += line.substr(1);
    }
    ASSERT_GE(first, 1u);
    EXPECT_NE(before.find(removed.substr(0, 2)), std::string::npos);
    if (first == 1) {
      EXPECT_THAT(before, HasSubstr(removed));
      EXPECT_THAT(after, HasSubstr(added));
    }
  }
}

}  // namespace
}  // namespace quern
