// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace quern {

/// `PRAGMA user_version` of the databases this code writes. Meaning: docs/store_schema.md.
inline constexpr int kSchemaVersion = 2;

/// Columns after `time` are computed from `evaluation`: one truth, readable with plain SQL.
inline constexpr const char* kSchema = R"(
CREATE TABLE environments (
  environment_id TEXT PRIMARY KEY,
  environment    TEXT NOT NULL
) STRICT;
CREATE TABLE runs (
  run_id          TEXT PRIMARY KEY,
  created_at      TEXT NOT NULL,
  state           TEXT NOT NULL CHECK (state IN ('running', 'interrupted', 'finished')),
  options         TEXT NOT NULL,
  work            TEXT NOT NULL DEFAULT '{}',
  environment_id  TEXT NOT NULL REFERENCES environments,
  spent_s         REAL NOT NULL DEFAULT 0,
  search_attempts INTEGER,
  summary         TEXT
) STRICT;
CREATE TABLE attempts (
  run_id       TEXT NOT NULL REFERENCES runs,
  number       INTEGER NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('in_flight', 'done')),
  candidate_id TEXT NOT NULL,
  proposer     TEXT NOT NULL,
  language     TEXT NOT NULL,
  source       TEXT NOT NULL,
  trace        TEXT NOT NULL,
  action       TEXT NOT NULL,
  note         TEXT NOT NULL,
  parents      TEXT NOT NULL,
  diff         TEXT NOT NULL,
  evaluation   TEXT,
  time         TEXT NOT NULL DEFAULT '',
  verdict   TEXT GENERATED ALWAYS AS (json_extract(evaluation, '$.verdict.verdict')) VIRTUAL,
  reason    TEXT GENERATED ALWAYS AS (json_extract(evaluation, '$.verdict.reason')) VIRTUAL,
  level     TEXT GENERATED ALWAYS AS (json_extract(evaluation, '$.verdict.level')) VIRTUAL,
  median_ns REAL GENERATED ALWAYS AS (json_extract(evaluation, '$.verdict.timing.median_ns')) VIRTUAL,
  build_log TEXT GENERATED ALWAYS AS (json_extract(evaluation, '$.build.log')) VIRTUAL,
  PRIMARY KEY (run_id, number)
) STRICT;
CREATE INDEX attempts_by_candidate ON attempts (run_id, candidate_id);
CREATE TABLE edges (
  run_id    TEXT NOT NULL REFERENCES runs,
  child     INTEGER NOT NULL,
  parent_id TEXT NOT NULL,
  position  INTEGER NOT NULL,
  action    TEXT NOT NULL,
  PRIMARY KEY (run_id, child, position)
) STRICT;
CREATE TABLE baselines (
  run_id       TEXT NOT NULL REFERENCES runs,
  name         TEXT NOT NULL,
  number       INTEGER NOT NULL,
  candidate_id TEXT NOT NULL,
  PRIMARY KEY (run_id, name)
) STRICT;
CREATE TABLE duels (
  run_id       TEXT NOT NULL REFERENCES runs,
  position     INTEGER NOT NULL,
  candidate_id TEXT NOT NULL,
  baseline_id  TEXT NOT NULL,
  duel         TEXT NOT NULL,
  PRIMARY KEY (run_id, candidate_id, baseline_id)
) STRICT;
CREATE TABLE artifacts (
  run_id TEXT NOT NULL REFERENCES runs,
  hash   TEXT NOT NULL,
  kind   TEXT NOT NULL,
  bytes  INTEGER NOT NULL,
  PRIMARY KEY (run_id, hash, kind)
) STRICT;
CREATE TABLE events (
  run_id   TEXT NOT NULL REFERENCES runs,
  position INTEGER NOT NULL,
  at       TEXT NOT NULL,
  kind     TEXT NOT NULL,
  detail   TEXT NOT NULL,
  PRIMARY KEY (run_id, position)
) STRICT;
)";

}  // namespace quern
